// Where Prometheus scrapes: GET /metrics over HTTP, text format.
#ifndef HYDRAD_SERVER_METRICS_EXPORTER_H_
#define HYDRAD_SERVER_METRICS_EXPORTER_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "server/base/listen_socket.h"
#include "server/metrics/metrics.h"
#include "server/metrics/scrape_server.h"

namespace hydrad {

// Serves one Metrics for as long as it lives, on a thread of its own. The endpoint is plain HTTP without
// authentication: bind it to an address that only the scraper reaches.
class Exporter {
 public:
  // `address` is HOST:PORT, [V6]:PORT or unix:PATH; port 0 lets the system choose. Errors are those of
  // ParseListenAddress and ListenSocket::Open.
  static absl::StatusOr<std::unique_ptr<Exporter>> Start(const std::string& address, const Metrics& metrics);

  // The address with the port that was bound.
  const std::string& address() const { return server_.address(); }

 private:
  Exporter(ListenSocket socket, const Metrics& metrics);

  ScrapeServer server_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_EXPORTER_H_
