// As much of an HTTP server as a scrape takes: GET or HEAD of one path, one answer a connection.
#ifndef HYDRAD_SERVER_METRICS_SCRAPE_SERVER_H_
#define HYDRAD_SERVER_METRICS_SCRAPE_SERVER_H_

#include <functional>
#include <list>
#include <string>
#include <thread>
#include <unordered_map>

#include "server/base/clock.h"
#include "server/base/listen_socket.h"

namespace hydrad {

// One thread serves all clients and waits for none, so that a slow one holds up nobody else. There are at
// most kMaxConnections at once, each for at most kPatience; when one more comes, the oldest one is closed.
class ScrapeServer {
 public:
  static constexpr size_t kMaxConnections = 64;
  static constexpr size_t kMaxRequestBytes = 8 << 10;
  static constexpr Duration kPatience = std::chrono::seconds(10);

  // `text` is called for every scrape of `path`, on the server's thread.
  ScrapeServer(ListenSocket socket, std::string path, std::function<std::string()> text);
  ~ScrapeServer();

  // HOST:PORT or unix:PATH.
  const std::string& address() const { return socket_.address(); }

 private:
  struct Client {
    FileDescriptor fd;
    TimePoint until;
    std::string request{}, answer{};
    size_t sent = 0;
  };
  using Clients = std::list<Client>;

  void Run();
  int WaitTime() const;
  void Accept(int listener_fd);
  void Rest();
  void Tick();
  // Each returns whether there is something left to do with the client.
  bool Read(Client& client);
  bool Write(Client& client);
  std::string Answer(const std::string& request) const;

  const ListenSocket socket_;
  const std::string path_;
  const std::function<std::string()> text_;
  FileDescriptor epoll_, stop_;

  // Owned by the thread.
  Clients clients_;  // oldest first
  std::unordered_map<int, Clients::iterator> by_fd_;
  bool resting_ = false;  // after a failure to accept
  TimePoint rest_until_{};

  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_SCRAPE_SERVER_H_
