// A client that says exactly what a test wants, byte by byte.
#ifndef HYDRAD_TESTS_HTTP_RAW_CLIENT_H_
#define HYDRAD_TESTS_HTTP_RAW_CLIENT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "server/base/check.h"
#include "server/base/file_descriptor.h"

namespace hydrad {

// A connection to a loopback address HOST:PORT. Reads wait for the server; a test that could wait for ever is
// ended by ctest.
class RawClient {
 public:
  explicit RawClient(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    HYDRAD_CHECK(connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }

  // Sends all of it, or less if the server has closed the connection.
  bool Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  void Post(const std::string& path, const std::string& body, const std::string& fields = "") const {
    Send("POST " + path + " HTTP/1.1\r\nHost: x\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  void Get(const std::string& path, const std::string& fields = "") const {
    Send("GET " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n");
  }

  // Reads until what has come and has not been taken holds `text`, and takes it up to the end of that; all
  // that there is if the server closes the connection before.
  std::string ReadThrough(std::string_view text) {
    size_t at;
    while ((at = in_.find(text)) == std::string::npos) {
      if (!ReadSome()) return std::exchange(in_, {});
    }
    std::string out = in_.substr(0, at + text.size());
    in_.erase(0, out.size());
    return out;
  }
  // One whole answer with a Content-Length.
  std::string ReadAnswer() {
    std::string out = ReadThrough("\r\n\r\n");
    const size_t field = out.find("Content-Length: ");
    if (field == std::string::npos) return out;
    const size_t size = std::stoul(out.substr(field + 16));
    while (in_.size() < size && ReadSome()) continue;
    out += in_.substr(0, size);
    in_.erase(0, size);
    return out;
  }
  std::string ReadToEnd() {
    while (ReadSome()) continue;
    return std::exchange(in_, {});
  }
  // The client closes its side, all at once with what it has not read.
  void Close() { fd_ = FileDescriptor(-1); }

  int fd() const { return fd_.get(); }

 private:
  bool ReadSome() {
    char buffer[4096];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n > 0) in_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }

  FileDescriptor fd_;
  std::string in_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_HTTP_RAW_CLIENT_H_
