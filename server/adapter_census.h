// From the adapter store's events to the metrics: how many names are in each state, and how loads went.
#ifndef HYDRAD_SERVER_ADAPTER_CENSUS_H_
#define HYDRAD_SERVER_ADAPTER_CENSUS_H_

#include <array>
#include <map>
#include <string>

#include "server/adapters/adapter_store.h"
#include "server/base/mutex.h"
#include "server/metrics/metrics.h"

namespace hydrad {

// Keeps its own count, because an event may not ask the store. Thread-safe.
class AdapterCensus {
 public:
  // `metrics` must outlive this. Every state starts with a line of 0.
  explicit AdapterCensus(Metrics& metrics);
  // For AdapterStore::AddWatcher, before anything is loaded.
  void Event(const AdapterInfo& info);

 private:
  static constexpr size_t kStates = 5;
  void Change(AdapterState state, int by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Metrics& metrics_;
  Mutex mu_;
  std::map<std::string, AdapterState> states_ ABSL_GUARDED_BY(mu_);
  std::array<int, kStates> counts_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTER_CENSUS_H_
