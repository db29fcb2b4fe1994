// A benchmark's requests sent to a daemon.
#ifndef HYDRAD_CLIENT_BENCH_CLIENT_TARGET_H_
#define HYDRAD_CLIENT_BENCH_CLIENT_TARGET_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "client/bench/runner.h"
#include "client/hydrad_client.h"

namespace hydrad {

// Streams on the callback API: thousands at once need no threads of their own. Thread-safe.
class ClientTarget final : public BenchTarget {
 public:
  struct Options {
    int connections = 1;  // streams take turns over so many
    CallOptions call;
    float temperature = 1;
    bool ignore_eos = false;
  };
  ClientTarget(const std::string& address, const Options& options);

  void Start(const BenchRequest& request, Events events) override;

 private:
  const Options options_;
  std::vector<std::unique_ptr<Client>> clients_;  // [connections]
  std::atomic<size_t> turn_{0};
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_BENCH_CLIENT_TARGET_H_
