// The listener of HTTP/1.1: connections, their bounds and their end. What is said on them is an
// HttpService's.
#ifndef HYDRAD_SERVER_HTTP_HTTP_SERVER_H_
#define HYDRAD_SERVER_HTTP_HTTP_SERVER_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <thread>

#include "server/base/certificates.h"
#include "server/base/clock.h"
#include "server/base/listen_socket.h"
#include "server/front/connection_book.h"
#include "server/front/listener_probe.h"
#include "server/http/http_service.h"
#include "server/http/request_reader.h"  // RequestBounds
#include "server/metrics/metrics.h"

namespace hydrad {

struct HttpOptions {
  std::string name = "http";  // of the listener and its thread, in the log and in metrics
  RequestBounds request{};
  ConnectionLimits connections{};
  const CertificateHolder* certificates = nullptr;  // the listener speaks TLS; null: plain text
  // How long a client may take: until the head of a request is whole (with TLS, as long again for the
  // handshake), for the body after a head, between two requests, and to take some of an answer.
  Duration silence = std::chrono::seconds(20);
  Duration body = std::chrono::seconds(60);
  Duration idle = std::chrono::seconds(120);
  Duration stall = std::chrono::seconds(30);
};

// One thread ("http") reads, writes and waits for no client. A connection that has asked nothing comes last:
// where there is no room it is closed for a new one. Thread-safe.
class HttpServer {
 public:
  // Takes the address, which strangers may reach if `public_allowed`. Errors name it: FAILED_PRECONDITION
  // (strangers, see CheckExposure), UNAVAILABLE (cannot be bound), INVALID_ARGUMENT (is none).
  static absl::StatusOr<ListenSocket> Bind(const std::string& address, bool public_allowed);

  // Serves. `metrics` and what `options` points to must outlive this.
  HttpServer(const HttpOptions& options, ListenSocket socket, std::shared_ptr<HttpService> service,
             Metrics& metrics);
  // Does what Shutdown(0) does.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // With the port that was bound.
  const std::string& address() const;
  // For the daemon's look at this listener, which no limit keeps out.
  ListenerProbe::Target target();
  // Each connection ends after its next answer.
  void SetDraining();
  // Takes no more connections and requests, gives the running answers `limit` to be taken, and ends. Answers
  // that wait for the scheduler end when it does: drain it first. Idempotent.
  void Shutdown(Duration limit);

 private:
  class Core;
  std::shared_ptr<Core> core_;
  std::thread thread_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_HTTP_SERVER_H_
