#include "server/adapter_census.h"

namespace hydrad {

AdapterCensus::AdapterCensus(Metrics& metrics) : metrics_(metrics) {
  MutexLock lock(&mu_);
  for (const AdapterState state :
       {AdapterState::kLoading, AdapterState::kAvailable, AdapterState::kUnloading, AdapterState::kFailed}) {
    for (const Tier tier : {Tier::kDisk, Tier::kHost, Tier::kDevice}) Change({state, tier}, 0);
  }
}

void AdapterCensus::Event(const AdapterEvent& event) {
  const AdapterInfo& info = event.info;
  CountMove(event);
  MutexLock lock(&mu_);
  if (const auto before = places_.find(info.name); before != places_.end()) {
    Change(before->second, -1);
    places_.erase(before);
  }
  if (info.state == AdapterState::kUnloaded) return metrics_.AdapterGone(info.name);
  const Place place = {info.state, info.tier};
  places_[info.name] = place;
  Change(place, 1);
}

void AdapterCensus::CountMove(const AdapterEvent& event) {
  switch (event.change) {
    case AdapterChange::kState:
      return;
    case AdapterChange::kLoaded:
      return metrics_.AdapterLoad(event.info.error.ok() ? "ok" : "error", event.info.load_seconds);
    case AdapterChange::kFetched:  // on its way up it may pass host memory: that is not the end of it
      if (event.info.tier == Tier::kDevice) metrics_.AdapterLoad("ok", event.info.load_seconds);
      return;
    case AdapterChange::kFetchFailed:
      return metrics_.AdapterLoad("error", event.info.load_seconds);
    case AdapterChange::kEvicted:
      return metrics_.AdapterEvicted(event.info.tier == Tier::kDisk ? "host_memory" : "device_memory");
  }
}

void AdapterCensus::Change(Place place, int by) {
  int& count = counts_[place];
  count += by;
  metrics_.SetAdapters(Name(place.second), Name(place.first), count);
}

}  // namespace hydrad
