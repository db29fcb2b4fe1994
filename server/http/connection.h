// One connection of a client. Only http_server.cc and connection.cc include this, because it brings asio.
#ifndef HYDRAD_SERVER_HTTP_CONNECTION_H_
#define HYDRAD_SERVER_HTTP_CONNECTION_H_

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/base/clock.h"
#include "server/base/tls_session.h"
#include "server/http/http_server.h"  // HttpOptions

namespace hydrad {

// What the connections of a listener share. Everything but `post` is for the listener's thread.
struct ConnectionRoom {
  HttpOptions options;
  std::shared_ptr<HttpService> service;
  std::array<char, 64 << 10> scratch;  // what was read last; a connection that waits has no buffer
  bool draining = false;
  std::function<void(std::function<void()>)> post;  // onto the thread, from any; nothing once it has ended
};

// Reads a request, answers it, then reads the next. While it answers it reads on, a little, so that it hears
// at once of a client that goes away. Owned by the listener's thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  // `tls` is null for plain text. `ended` is called once, just before the connection is closed. `heard` is
  // called with true when the head of a request has come whole, with false when the connection waits for the
  // next one.
  Connection(std::shared_ptr<ConnectionRoom> room, Socket socket, std::unique_ptr<TlsSession> tls,
             std::string peer, std::function<void(Connection&)> ended,
             std::function<void(Connection&, bool)> heard);

  void Start();
  void Close();
  // Ends what has taken too long.
  void Look(TimePoint now);
  // Whether the client has said what is no TLS, where it should be.
  bool not_tls() const { return not_tls_; }
  // Whether no request is being read or answered.
  bool idle() const { return phase_ == Phase::kReading && !opened_; }

 private:
  enum class Phase { kReading, kAnswering, kLingering, kClosed };

  Moved Receive();
  Moved Transmit(std::string_view bytes);
  void WaitToRead(Socket::wait_type until = Socket::wait_read);
  void OnReadable();
  void Consume(std::string_view bytes);
  bool Open();
  void Handle();
  void Refuse(int status, const std::string& why);
  std::shared_ptr<Reply> NewReply(bool keep_alive);
  void Advance();
  bool Write();
  void OnWritable(const boost::system::error_code& failed);
  void Finish();
  void Linger();

  const std::shared_ptr<ConnectionRoom> room_;
  Socket socket_;
  const std::unique_ptr<TlsSession> tls_;  // null: plain text
  const std::string peer_;
  const std::function<void(Connection&)> ended_;
  const std::function<void(Connection&, bool)> heard_;

  Phase phase_ = Phase::kReading;
  TimePoint until_;  // when what it does now must be over
  bool reads_ = false;
  bool greeted_ = false, not_tls_ = false;  // with TLS: its first byte has come; it was another's
  std::string ahead_;                       // bytes of requests behind the one that is answered
  size_t lingered_ = 0;

  // Of the request.
  std::optional<RequestReader> reader_;
  bool opened_ = false;  // its head has been looked at
  Handler handler_;
  std::shared_ptr<Reply> reply_;
  std::string out_;  // is being written
  size_t sent_ = 0;  // of it
  bool last_ = false, writes_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_CONNECTION_H_
