// Where Prometheus scrapes: GET /metrics over HTTP, text format.
#ifndef HYDRAD_SERVER_METRICS_EXPORTER_H_
#define HYDRAD_SERVER_METRICS_EXPORTER_H_

#include <memory>
#include <string>

#include "server/base/status.h"
#include "server/metrics/metrics.h"

namespace hydrad {

// Serves one Metrics for as long as it lives, on threads of its own. The endpoint is plain HTTP without
// authentication: bind it to an address that only the scraper reaches.
class Exporter {
 public:
  // `address` is HOST:PORT; port 0 lets the system choose. UNAVAILABLE, naming the address, when it cannot be
  // bound.
  static absl::StatusOr<std::unique_ptr<Exporter>> Start(const std::string& address, const Metrics& metrics);
  ~Exporter();

  // HOST:PORT with the port that was bound.
  const std::string& address() const { return address_; }

 private:
  struct Impl;
  Exporter(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_EXPORTER_H_
