// What each tenant's requests are doing now, and how much they have done.
#ifndef HYDRAD_SERVER_FRONT_ACTIVITY_H_
#define HYDRAD_SERVER_FRONT_ACTIVITY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/base/mutex.h"
#include "server/scheduler/token_sink.h"

namespace hydrad {

struct TenantActivity {
  int waiting = 0, running = 0;           // requests without, and with, a first token
  int64_t ended = 0;                      // requests, however they ended
  int64_t generated_tokens = 0;           // that have reached the delivery, of all requests
  std::map<std::string, int> adapters{};  // requests that have not ended, by adapter; "": the base model
};

// Counts from the start of the program. Thread-safe; nothing here waits for more than a few instructions. The
// sinks may outlive this.
class Activity {
 public:
  // Returns a sink that counts what comes for a request of `tenant` and passes it on to `sink`. The request
  // counts from now on until its end, or until the sink goes. `adapters`: those that it uses, an empty name
  // is the base model.
  std::shared_ptr<TokenSink> Watch(std::shared_ptr<TokenSink> sink, const std::string& tenant,
                                   std::vector<std::string> adapters);

  TenantActivity Of(const std::string& tenant) const;

 private:
  struct Counts;
  class Watcher;
  std::shared_ptr<Counts> CountsOf(const std::string& tenant);

  mutable Mutex mu_;
  std::map<std::string, std::shared_ptr<Counts>> tenants_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ACTIVITY_H_
