#include "server/adapter_census.h"

namespace hydrad {

AdapterCensus::AdapterCensus(Metrics& metrics) : metrics_(metrics) {
  MutexLock lock(&mu_);
  for (const AdapterState state :
       {AdapterState::kLoading, AdapterState::kAvailable, AdapterState::kUnloading, AdapterState::kFailed}) {
    Change(state, 0);
  }
}

void AdapterCensus::Event(const AdapterInfo& info) {
  MutexLock lock(&mu_);
  if (const auto before = states_.find(info.name); before != states_.end()) {
    Change(before->second, -1);
    states_.erase(before);
  }
  if (info.state == AdapterState::kUnloaded) {
    metrics_.AdapterGone(info.name);
    return;
  }
  states_[info.name] = info.state;
  Change(info.state, 1);
  if (info.state == AdapterState::kAvailable || info.state == AdapterState::kFailed) {  // a load has ended
    metrics_.AdapterLoad(info.error.ok() ? "ok" : "error", info.load_seconds);
  }
}

void AdapterCensus::Change(AdapterState state, int by) {
  int& count = counts_[static_cast<size_t>(state)];
  count += by;
  metrics_.SetAdapters(Name(state), count);
}

}  // namespace hydrad
