// From the adapter store's events to the metrics: how many names are in each state and tier, and how loads
// and evictions went.
#ifndef HYDRAD_SERVER_ADAPTER_CENSUS_H_
#define HYDRAD_SERVER_ADAPTER_CENSUS_H_

#include <map>
#include <string>
#include <utility>

#include "server/adapters/store/adapter_store.h"
#include "server/base/mutex.h"
#include "server/metrics/metrics.h"

namespace hydrad {

// Keeps its own count, because an event may not ask the store. Thread-safe.
class AdapterCensus {
 public:
  // `metrics` must outlive this. Every state and tier starts with a line of 0.
  explicit AdapterCensus(Metrics& metrics);
  // For AdapterStore::AddWatcher, before anything is loaded.
  void Event(const AdapterEvent& event);

 private:
  using Place = std::pair<AdapterState, Tier>;
  void Change(Place place, int by) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountMove(const AdapterEvent& event);

  Metrics& metrics_;
  Mutex mu_;
  std::map<std::string, Place> places_ ABSL_GUARDED_BY(mu_);
  std::map<Place, int> counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTER_CENSUS_H_
