// Bytes of a connection into requests of HTTP/1.1: the one file, with its .cc, that knows Boost.Beast.
#ifndef HYDRAD_SERVER_HTTP_REQUEST_READER_H_
#define HYDRAD_SERVER_HTTP_REQUEST_READER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/http/http_message.h"

namespace hydrad {

struct RequestBounds {
  size_t head_bytes = 16 << 10;
  size_t body_bytes = 4 << 20;
};

// Reads one request; a connection makes another for the next one. It knows nothing of sockets. What it holds
// is bounded: the head's bytes until the head is whole, then the body's. What could be read in two ways is
// refused: a length beside chunks, two lengths, a coding other than chunks. Not thread-safe.
class RequestReader {
 public:
  explicit RequestReader(const RequestBounds& bounds);
  ~RequestReader();

  enum class State {
    kHead,  // more of the head is to come
    kBody,  // the head is there, more of the body is to come
    kDone,
    kBad,  // this is no request, or too large a one: the rest of the connection means nothing
  };
  // Takes the next bytes and returns how many of them belong to this request. It stops behind the head, so
  // that somebody can look at it before the body is read.
  size_t Put(std::string_view bytes);
  State state() const { return state_; }
  // Whether a byte of it has come. Empty lines before a request do not count.
  bool begun() const { return !begin_.empty() || state_ != State::kHead; }

  // Without the peer; empty where no head could be read.
  const RequestHead& head() const { return head_; }
  // Gives the body away. REQUIRES: kDone.
  std::string TakeBody();
  // The status (400, 413, 431) and a text that say what is wrong. REQUIRES: kBad.
  int error_status() const { return error_status_; }
  const std::string& error() const { return error_; }

 private:
  struct Parser;

  size_t PutHead(std::string_view bytes);
  size_t PutBody(std::string_view bytes);
  void ReadHead();
  void Fail(int status, std::string text);

  const RequestBounds bounds_;
  std::unique_ptr<Parser> parser_;  // once the head is whole
  State state_ = State::kHead;
  std::string begin_;  // of the head or of a line between chunks, until it is whole
  RequestHead head_;
  int error_status_ = 0;
  std::string error_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_REQUEST_READER_H_
