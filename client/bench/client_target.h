// A benchmark's requests sent to a daemon.
#ifndef HYDRAD_CLIENT_BENCH_CLIENT_TARGET_H_
#define HYDRAD_CLIENT_BENCH_CLIENT_TARGET_H_

#include <atomic>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "client/bench/runner.h"
#include "client/hydrad_client.h"
#include "server/base/mutex.h"

namespace hydrad {

// Streams on the callback API: thousands at once need no threads of their own. Thread-safe.
class ClientTarget final : public BenchTarget {
 public:
  struct Options {
    int connections = 1;  // streams take turns over so many
    CallOptions call;
    std::optional<TlsOptions> tls{};
    float temperature = 1;
    bool ignore_eos = false;
    // Where every answer that ended well is written, a JSON object {prompt, adapter, seed, token_ids} a line;
    // null: nowhere. Must outlive the target.
    std::ostream* transcript = nullptr;
  };
  ClientTarget(const std::string& address, const Options& options);

  void Start(const BenchRequest& request, Events events) override;

 private:
  void Record(const BenchRequest& request, const std::vector<int32_t>& token_ids) ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  std::atomic<size_t> turn_{0};
  Mutex mu_;                                      // of the transcript
  std::vector<std::unique_ptr<Client>> clients_;  // [connections]; go first, which awaits their callbacks
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_BENCH_CLIENT_TARGET_H_
