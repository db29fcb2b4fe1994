#include "server/http/request_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <utility>

namespace hydrad {
namespace {

namespace http = boost::beast::http;

// Of a line between two chunks, and of all the fields behind the last one.
constexpr size_t kMaxChunkLine = 4 << 10;
// Beast wants to see so many bytes of a body in chunks at once: no end of one is shorter ("0", two line
// ends).
constexpr size_t kLeastOfChunks = 5;
constexpr std::string_view kEndOfHead = "\r\n\r\n";

std::string Text(boost::beast::string_view text) { return {text.data(), text.size()}; }

bool Is(boost::beast::string_view value, const char* word) { return boost::beast::iequals(value, word); }

// The path of "/v1/models?x=1" and of "http://host/v1/models?x=1".
std::string PathOf(boost::beast::string_view target) {
  std::string path = Text(target);
  if (const size_t scheme = path.find("://"); path.front() != '/' && scheme != std::string::npos) {
    const size_t slash = path.find('/', scheme + 3);
    path = slash == std::string::npos ? "/" : path.substr(slash);
  }
  return path.substr(0, path.find_first_of("?#"));
}

}  // namespace

struct RequestReader::Parser {
  http::request_parser<http::string_body> impl;
};

RequestReader::RequestReader(const RequestBounds& bounds) : bounds_(bounds) {}
RequestReader::~RequestReader() = default;

size_t RequestReader::Put(std::string_view bytes) {
  if (state_ == State::kHead) return PutHead(bytes);
  if (state_ == State::kBody) return PutBody(bytes);
  return 0;
}

// Beast counts the bytes of a head anew where it comes in pieces, so it is given whole heads.
size_t RequestReader::PutHead(std::string_view bytes) {
  size_t skipped = 0;
  if (begin_.empty()) skipped = std::min(bytes.find_first_not_of("\r\n"), bytes.size());
  if (skipped == bytes.size()) return skipped;
  const size_t kept = begin_.size();
  begin_.append(bytes.substr(skipped));
  const size_t end = begin_.find(kEndOfHead, kept < kEndOfHead.size() ? 0 : kept - kEndOfHead.size() + 1);
  if (begin_.front() < 'A' || begin_.front() > 'Z') {
    Fail(400, "this is not a request of HTTP/1.1");
  } else if (std::min(end, begin_.size()) > bounds_.head_bytes) {
    Fail(431, "the request's head is too large");
  }
  if (state_ == State::kBad || end == std::string::npos) return bytes.size();
  const size_t size = end + kEndOfHead.size();
  begin_.resize(size);
  ReadHead();
  begin_ = std::string();
  return skipped + size - kept;
}

void RequestReader::ReadHead() {
  parser_ = std::make_unique<Parser>();
  parser_->impl.header_limit(static_cast<uint32_t>(begin_.size() + 1));
  parser_->impl.body_limit(static_cast<uint64_t>(bounds_.body_bytes));
  boost::system::error_code error;
  parser_->impl.put(boost::asio::buffer(begin_), error);
  const bool too_large = error == http::error::body_limit;
  if (error && !too_large) return Fail(400, "this is not a request of HTTP/1.1: " + error.message());
  const auto& request = parser_->impl.get();
  if (request.target().empty()) return Fail(400, "the request names no path");
  head_.method = Text(request.method_string());
  head_.path = PathOf(request.target());
  head_.http10 = request.version() < 11;
  head_.keep_alive = request.keep_alive();
  head_.has_body = !parser_->impl.is_done();
  const auto [first, behind] = request.equal_range(http::field::authorization);
  if (first != behind) head_.authorization = Text(first->value());
  head_.authorized_twice = first != behind && std::next(first) != behind;
  if (const std::string name = Text(request["x-request-id"]); IsRequestName(name)) head_.request_id = name;
  head_.origin = Text(request[http::field::origin]);
  head_.host = Text(request[http::field::host]);
  head_.wanted_method = Text(request[http::field::access_control_request_method]);
  head_.wanted_fields = Text(request[http::field::access_control_request_headers]);
  head_.accept = Text(request[http::field::accept]);
  head_.if_none_match = Text(request[http::field::if_none_match]);
  if (too_large) return Fail(413, "the request's body is too large");
  head_.expects_continue = !head_.http10 && Is(request[http::field::expect], "100-continue");
  const auto codings = request.equal_range(http::field::transfer_encoding);
  if (codings.first != codings.second && (head_.http10 || !Is(codings.first->value(), "chunked"))) {
    return Fail(501, "of transfer codings only 'chunked' is known");
  }
  state_ = head_.has_body ? State::kBody : State::kDone;
}

size_t RequestReader::PutBody(std::string_view bytes) {
  const size_t kept = begin_.size();
  std::string joined;
  std::string_view rest = bytes;
  if (kept > 0) rest = joined = std::exchange(begin_, {}).append(bytes);
  size_t used = 0;
  while (state_ == State::kBody && used < rest.size()) {
    if (parser_->impl.chunked() && rest.size() - used < kLeastOfChunks) {
      begin_ = rest.substr(used);
      return bytes.size();
    }
    boost::system::error_code error;
    used += parser_->impl.put(boost::asio::buffer(rest.data() + used, rest.size() - used), error);
    if (error == http::error::need_more) {
      begin_ = rest.substr(used);
      used = rest.size();
      if (begin_.size() > kMaxChunkLine) Fail(400, "a line between two chunks is too long");
    } else if (error == http::error::body_limit) {
      Fail(413, "the request's body is too large");
    } else if (error) {
      Fail(400, "the request's body is broken: " + error.message());
    } else if (parser_->impl.is_done()) {
      state_ = State::kDone;
    }
  }
  return state_ == State::kBad ? bytes.size() : used - kept;
}

std::string RequestReader::TakeBody() { return std::move(parser_->impl.get().body()); }

void RequestReader::Fail(int status, std::string text) {
  state_ = State::kBad;
  error_status_ = status;
  error_ = std::move(text);
}

}  // namespace hydrad
