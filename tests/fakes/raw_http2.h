// As much of HTTP/2 as it takes to say what no gRPC client would.
#ifndef HYDRAD_TESTS_FAKES_RAW_HTTP2_H_
#define HYDRAD_TESTS_FAKES_RAW_HTTP2_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace hydrad {

// A connection to a loopback address HOST:PORT. Not thread-safe.
class RawConnection {
 public:
  explicit RawConnection(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  RawConnection(RawConnection&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        received_(std::move(other.received_)) {}
  ~RawConnection() {
    if (fd_ >= 0) close(fd_);
  }

  bool connected() const { return connected_; }
  bool Send(const std::string& bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // What a client says first: its preface and empty settings.
  bool Greet() { return Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(4, 0, 0, "")); }

  using Headers = std::vector<std::pair<std::string, std::string>>;
  // The head of a call of `method` ("/package.Service/Method") with more headers.
  static std::string CallHead(int stream, const std::string& method, const Headers& more) {
    Headers all = {{":method", "POST"},
                   {":scheme", "http"},
                   {":path", method},
                   {":authority", "test"},
                   {"content-type", "application/grpc"},
                   {"te", "trailers"}};
    all.insert(all.end(), more.begin(), more.end());
    std::string block;
    for (const auto& [name, value] : all) block += '\0' + Text(name) + Text(value);
    std::string out;
    constexpr size_t kMost = 16384;  // of one frame
    for (size_t at = 0; at < block.size(); at += kMost) {
      const bool last = at + kMost >= block.size();
      out += Frame(at == 0 ? 1 : 9, last ? 4 : 0, stream, block.substr(at, kMost));
    }
    return out;
  }
  // A message, with which the client's side of the call ends.
  static std::string CallBody(int stream, const std::string& message) {
    return Frame(0, 1, stream, '\0' + Number(message.size(), 4) + message);
  }

  // Reads frames until one ends the stream. True if it did before the connection ended. (Headers of an answer
  // are packed: what they say is not read.)
  bool AwaitEnd(int stream) {
    while (true) {
      while (received_.size() >= 9 && received_.size() >= 9 + Length()) {
        const int type = received_[3], flags = received_[4], of = Read(5, 4);
        received_.erase(0, 9 + Length());
        if (of == stream && (type == 3 || ((type == 0 || type == 1) && (flags & 1) != 0))) {
          reset_ = type == 3;
          return true;
        }
      }
      char buffer[4096];
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) return false;
      received_.append(buffer, static_cast<size_t>(n));
    }
  }
  bool reset() const { return reset_; }  // how that stream ended
  // Waits for the end of the connection.
  void AwaitClose() {
    char buffer[4096];
    while (recv(fd_, buffer, sizeof buffer, 0) > 0) continue;
  }

 private:
  static std::string Number(size_t value, int bytes) {
    std::string out;
    for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
    return out;
  }
  static std::string Frame(int type, int flags, int stream, const std::string& payload) {
    return Number(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) +
           Number(stream, 4) + payload;
  }
  // A string literal as HPACK writes it, not packed.
  static std::string Text(const std::string& text) {
    if (text.size() < 127) return static_cast<char>(text.size()) + text;
    std::string out(1, 127);
    size_t rest = text.size() - 127;
    for (; rest >= 128; rest /= 128) out += static_cast<char>(rest % 128 + 128);
    return out + static_cast<char>(rest) + text;
  }
  size_t Length() const { return static_cast<size_t>(Read(0, 3)); }
  int Read(size_t at, size_t bytes) const {
    int value = 0;
    for (size_t i = at; i < at + bytes; ++i) value = value << 8 | static_cast<unsigned char>(received_[i]);
    return value;
  }

  int fd_;
  bool connected_ = false, reset_ = false;
  std::string received_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_RAW_HTTP2_H_
