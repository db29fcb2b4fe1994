#include "server/http/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <random>
#include <utility>

#include "server/base/log.h"

namespace hydrad {
namespace {

using Error = boost::system::error_code;

// Bytes of later requests that are kept while one is answered.
constexpr size_t kMaxAhead = 64 << 10;
// A client that still sends when it has been refused is heard so long, so that it can read why.
constexpr size_t kMaxLingered = 1 << 20;
constexpr Duration kLinger = std::chrono::seconds(2);
constexpr TimePoint kNever = TimePoint::max();

TimePoint Now() { return SteadyClock().Now(); }

std::string NewRequestId() {
  static thread_local std::mt19937_64 random{std::random_device()()};
  return fmt::format("{:016x}{:016x}", random(), random());
}

Moved After(const Error& error, size_t size, Moved::Then again) {
  if (!error) return {.then = Moved::Then::kDone, .bytes = size};
  const bool later = error == boost::asio::error::would_block || error == boost::asio::error::interrupted;
  return {.then = later ? again : Moved::Then::kEnd};
}

}  // namespace

Connection::Connection(std::shared_ptr<ConnectionRoom> room, Socket socket, std::unique_ptr<TlsSession> tls,
                       std::string peer, std::function<void(Connection&)> ended,
                       std::function<void(Connection&, bool)> heard)
    : room_(std::move(room)),
      socket_(std::move(socket)),
      tls_(std::move(tls)),
      peer_(std::move(peer)),
      ended_(std::move(ended)),
      heard_(std::move(heard)),
      until_(Now() + room_->options.silence) {}

void Connection::Start() { WaitToRead(); }

void Connection::Close() {
  if (std::exchange(phase_, Phase::kClosed) == Phase::kClosed) return;
  if (reply_ != nullptr) std::exchange(reply_, nullptr)->Gone();
  if (tls_ != nullptr) tls_->End();
  ended_(*this);  // first, so that whoever sees the end finds it counted
  Error ignored;
  socket_.close(ignored);
}

void Connection::Look(TimePoint now) {
  if (until_ > now) return;
  if (phase_ == Phase::kReading && reader_ && reader_->begun()) {
    return Refuse(408, "the request did not come in time");
  }
  Close();
}

// Into the room's scratch.
Moved Connection::Receive() {
  if (tls_ != nullptr) return tls_->Read(room_->scratch);
  Error error;
  const size_t size = socket_.read_some(boost::asio::buffer(room_->scratch), error);
  return After(error, size, Moved::Then::kWantsRead);
}

Moved Connection::Transmit(std::string_view bytes) {
  if (tls_ != nullptr) return tls_->Write(bytes);
  Error error;
  const size_t size = socket_.write_some(boost::asio::buffer(bytes), error);
  return After(error, size, Moved::Then::kWantsWrite);
}

void Connection::WaitToRead(Socket::wait_type until) {
  if (reads_ || phase_ == Phase::kClosed || ahead_.size() >= kMaxAhead) return;
  reads_ = true;
  socket_.async_wait(until, [self = shared_from_this()](const Error& error) {
    self->reads_ = false;
    if (self->phase_ == Phase::kClosed) return;
    if (error) return self->Close();
    self->OnReadable();
  });
}

void Connection::OnReadable() {
  if (tls_ != nullptr && !std::exchange(greeted_, true)) {
    char first = 0;
    not_tls_ = recv(socket_.native_handle(), &first, 1, MSG_PEEK) == 1 && !TlsSession::IsHello(first);
    if (not_tls_) return Close();
  }
  const auto [then, size] = Receive();
  if (then == Moved::Then::kWantsRead) return WaitToRead();
  if (then == Moved::Then::kWantsWrite) return WaitToRead(Socket::wait_write);  // shakes hands
  if (then == Moved::Then::kEnd) return Close();
  const std::string_view bytes(room_->scratch.data(), size);
  if (phase_ == Phase::kReading) {
    Consume(bytes);
  } else if (phase_ == Phase::kAnswering) {
    ahead_.append(bytes);
  } else if ((lingered_ += size) > kMaxLingered) {
    return Close();
  }
  WaitToRead();
}

void Connection::Consume(std::string_view bytes) {
  using State = RequestReader::State;
  while (phase_ == Phase::kReading) {
    if (!reader_) reader_.emplace(room_->options.request);
    const bool begun = reader_->begun();
    bytes.remove_prefix(reader_->Put(bytes));
    // An empty connection may wait for its first request as long as this, too.
    if (!begun && reader_->begun()) until_ = Now() + room_->options.silence;
    if (reader_->state() == State::kHead) return;
    if (reader_->state() == State::kBad) return Refuse(reader_->error_status(), reader_->error());
    if (!opened_ && !Open()) {
      ahead_ = bytes;
      return;
    }
    if (reader_->state() == State::kDone) {
      ahead_ = bytes;
      return Handle();
    }
    if (bytes.empty()) return;
  }
}

// The head is there. Returns whether the body is wanted.
bool Connection::Open() {
  opened_ = true;
  heard_(*this, true);
  RequestHead head = reader_->head();
  head.peer = peer_;
  auto opened = room_->service->Open(head);
  if (const auto* answer = std::get_if<HttpAnswer>(&opened)) {
    const std::shared_ptr<Reply> reply = NewReply(reader_->state() == RequestReader::State::kDone);
    reply->Send(*answer);
    return false;
  }
  handler_ = std::move(std::get<Handler>(opened));
  if (reader_->state() == RequestReader::State::kDone) return true;
  until_ = Now() + room_->options.body;
  if (head.expects_continue) {
    // Nothing else has been sent that the client has not taken, so there is room for it.
    Transmit("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return true;
}

void Connection::Handle() {
  const std::shared_ptr<Reply> reply = NewReply(true);
  // Whoever has to answer may lose this.
  const std::shared_ptr<Reply> handle(reply.get(), [reply, service = room_->service](Reply*) {
    reply->Fail(service->Malformed(500, "the request was dropped"));
  });
  std::exchange(handler_, nullptr)(reader_->TakeBody(), handle);
}

void Connection::Refuse(int status, const std::string& why) {
  const HttpAnswer answer = room_->service->Malformed(status, why);
  NewReply(false)->Send(answer);
}

std::shared_ptr<Reply> Connection::NewReply(bool keep_alive) {
  phase_ = Phase::kAnswering;
  until_ = kNever;
  Reply::Traits traits;
  const RequestHead none;
  const RequestHead& head = reader_ ? reader_->head() : none;
  traits.request_id = head.request_id.empty() ? NewRequestId() : head.request_id;
  traits.what = head.method.empty() ? "no request" : head.method + " " + head.path;
  traits.http10 = head.http10;
  traits.head_only = head.method == "HEAD";
  traits.keep_alive = keep_alive && head.keep_alive && !head.http10 && !room_->draining;
  const auto post = [weak = weak_from_this(), room = room_](void (Connection::*what)()) {
    room->post([weak, what] {
      if (const auto self = weak.lock()) (*self.*what)();
    });
  };
  reply_ = std::make_shared<Reply>(
      std::move(traits), [post] { post(&Connection::Advance); }, [post] { post(&Connection::Close); });
  for (auto& [name, value] : room_->service->FieldsOf(head))
    reply_->AddHeader(std::move(name), std::move(value));
  return reply_;
}

void Connection::Advance() {
  using Next = Reply::Queue::Next;
  while (phase_ == Phase::kAnswering && !writes_) {
    const Next next = reply_->Take(&out_);
    if (next == Next::kNothing) return;
    if (next == Next::kEnd) return Close();
    last_ = next == Next::kLast;
    sent_ = 0;
    if (!Write()) return;
    reply_->Written();
    if (last_) return Finish();
  }
}

// Returns whether all has been written; else it goes on by itself.
bool Connection::Write() {
  while (sent_ < out_.size()) {
    const auto [then, size] = Transmit(std::string_view(out_).substr(sent_));
    sent_ += size;
    if (then == Moved::Then::kDone) continue;
    if (then == Moved::Then::kEnd) {
      Close();
      return false;
    }
    writes_ = true;
    until_ = Now() + room_->options.stall;
    socket_.async_wait(then == Moved::Then::kWantsRead ? Socket::wait_read : Socket::wait_write,
                       [self = shared_from_this()](const Error& failed) { self->OnWritable(failed); });
    return false;
  }
  return true;
}

void Connection::OnWritable(const Error& failed) {
  writes_ = false;
  if (phase_ == Phase::kClosed) return;
  if (failed) return Close();
  if (!Write()) return;
  until_ = kNever;
  reply_->Written();
  if (last_) return Finish();
  Advance();
}

// The answer has been written.
void Connection::Finish() {
  const bool goes_on = reply_->keep_alive() && !room_->draining;
  std::exchange(reply_, nullptr)->Done();
  reader_.reset();
  opened_ = false;
  out_ = std::string();
  if (!goes_on) return Linger();
  phase_ = Phase::kReading;
  until_ = Now() + room_->options.idle;
  heard_(*this, false);
  const std::string ahead = std::exchange(ahead_, {});
  if (!ahead.empty()) Consume(ahead);
  WaitToRead();
}

// A connection that is closed while there is something to read takes the answer back, so the client is given
// the time to close it.
void Connection::Linger() {
  phase_ = Phase::kLingering;
  until_ = Now() + kLinger;
  ahead_ = std::string();
  if (tls_ != nullptr) tls_->End();
  Error failed;
  socket_.shutdown(Socket::shutdown_send, failed);
  if (failed) return Close();
  WaitToRead();
}

}  // namespace hydrad
