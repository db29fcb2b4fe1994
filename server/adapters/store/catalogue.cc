#include "server/adapters/store/catalogue.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/names.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

bool Follows(AdapterState from, AdapterState to) {
  switch (from) {
    case AdapterState::kLoading:
      return to == AdapterState::kAvailable || to == AdapterState::kFailed;
    case AdapterState::kAvailable:  // itself: a replace ended
      return to != AdapterState::kLoading && to != AdapterState::kUnloaded;
    case AdapterState::kUnloading:
      return to == AdapterState::kUnloaded;
    case AdapterState::kFailed:
      return to == AdapterState::kLoading || to == AdapterState::kUnloaded;
    case AdapterState::kUnloaded:  // where an entry begins
      return to == AdapterState::kLoading || to == AdapterState::kAvailable;
  }
  return false;
}

absl::Status NotLoaded(const std::string& name) {
  if (!IsAdapterName(name)) return NotFound("no adapter can have this name");  // not echoed: anything
  return NotFound("adapter '{}' is not loaded", name);
}

absl::Status CheckNotBusy(const AdapterEntry& entry) {
  if (entry.info.state == AdapterState::kUnloading)
    return Aborted("adapter '{}' is being unloaded", entry.name);
  if (entry.loading || entry.changing) return Aborted("adapter '{}' is being loaded or changed", entry.name);
  return absl::OkStatus();
}

}  // namespace

const char* Name(AdapterState state) {
  switch (state) {
    case AdapterState::kLoading:
      return "loading";
    case AdapterState::kAvailable:
      return "available";
    case AdapterState::kUnloading:
      return "unloading";
    case AdapterState::kFailed:
      return "failed";
    case AdapterState::kUnloaded:
      return "unloaded";
  }
  return "unknown";
}

absl::Status CheckAdapterName(const std::string& name) {
  if (IsAdapterName(name)) return absl::OkStatus();
  return InvalidArgument("name: {}", kAdapterNameRule);
}

absl::Status Catalogue::MayLoad(const std::string& name) const {
  const EntryPtr entry = Find(name);
  if (entry != nullptr) return CheckNotBusy(*entry);
  if (entries_.size() < max_adapters_) return absl::OkStatus();
  return ResourceExhausted("there are {} adapters, which is the limit", entries_.size());
}

absl::Status Catalogue::MayChange(const std::string& name) const {
  const EntryPtr entry = Find(name);
  return entry == nullptr ? NotLoaded(name) : CheckNotBusy(*entry);
}

Catalogue::EntryPtr Catalogue::BeginLoad(const std::string& name, const std::string& path) {
  EntryPtr& entry = entries_[name];
  if (entry == nullptr) {
    entry = std::make_shared<AdapterEntry>(name);
    entry->info.state = AdapterState::kUnloaded;
  }
  HYDRAD_CHECK(!entry->loading && !entry->changing);
  entry->loading = true;
  if (entry->serving != nullptr) return entry;  // a replace: nothing changes until it ends
  entry->info.path = path;
  entry->info.error = absl::OkStatus();
  Transition(*entry, AdapterState::kLoading, AdapterChange::kState);
  return entry;
}

std::shared_ptr<Generation> Catalogue::Publish(AdapterEntry& entry, std::shared_ptr<Generation> generation,
                                               AdapterInfo info) {
  HYDRAD_CHECK(entry.loading && generation->number > entry.info.generation);
  entry.loading = false;
  info.name = entry.name;
  info.state = entry.info.state;
  info.pinned = entry.info.pinned;
  info.generation = generation->number;
  info.loaded = std::time(nullptr);
  entry.info = std::move(info);
  std::shared_ptr<Generation> before = std::exchange(entry.serving, std::move(generation));
  if (before != nullptr) before->serving = false;
  Transition(entry, AdapterState::kAvailable, AdapterChange::kLoaded);
  return before;
}

void Catalogue::FailLoad(AdapterEntry& entry, absl::Status error, double seconds) {
  HYDRAD_CHECK(entry.loading);
  entry.loading = false;
  entry.info.error = std::move(error);
  entry.info.load_seconds = seconds;
  Transition(entry, entry.serving ? AdapterState::kAvailable : AdapterState::kFailed, AdapterChange::kLoaded);
}

std::shared_ptr<Generation> Catalogue::FailServing(AdapterEntry& entry, absl::Status error, bool for_good) {
  entry.info.error = std::move(error);
  if (!for_good || entry.info.state != AdapterState::kAvailable) {
    events_.push_back({Snapshot(entry), AdapterChange::kFetchFailed});
    return nullptr;
  }
  std::shared_ptr<Generation> lost = std::exchange(entry.serving, nullptr);
  lost->serving = false;
  Transition(entry, AdapterState::kFailed, AdapterChange::kFetchFailed);
  if (entry.loading) Transition(entry, AdapterState::kLoading, AdapterChange::kState);  // the load under way
  return lost;
}

Catalogue::EntryPtr Catalogue::Restore(const AdapterInfo& info) {
  EntryPtr& entry = entries_[info.name];
  HYDRAD_CHECK(entry == nullptr);
  entry = std::make_shared<AdapterEntry>(info.name);
  entry->info = info;
  entry->info.state = AdapterState::kUnloaded;
  entry->info.tier = Tier::kDisk;
  entry->info.loaded = std::time(nullptr);
  entry->serving = std::make_shared<Generation>();
  entry->serving->number = info.generation;
  Transition(*entry, AdapterState::kAvailable, AdapterChange::kState);
  return entry;
}

bool Catalogue::BeginUnload(AdapterEntry& entry) {
  if (entry.info.state == AdapterState::kFailed) {
    Gone(entry);
    return true;
  }
  Transition(entry, AdapterState::kUnloading, AdapterChange::kState);
  return false;
}

void Catalogue::Gone(AdapterEntry& entry) {
  Transition(entry, AdapterState::kUnloaded, AdapterChange::kState);
  entries_.erase(std::string(entry.name));  // a copy: the entry may go with it
}

void Catalogue::Moved(AdapterEntry& entry, Tier tier, AdapterChange change) {
  entry.info.tier = tier;
  events_.push_back({Snapshot(entry), change});
}

void Catalogue::SetPinned(AdapterEntry& entry, bool pinned) {
  entry.info.pinned = pinned;
  events_.push_back({Snapshot(entry), AdapterChange::kState});
}

Catalogue::EntryPtr Catalogue::Find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second;
}

absl::StatusOr<Catalogue::EntryPtr> Catalogue::Serving(const std::string& name) const {
  EntryPtr entry = Find(name);
  if (entry == nullptr) return NotLoaded(name);
  switch (entry->info.state) {
    case AdapterState::kAvailable:
      return entry;
    case AdapterState::kFailed:
      return FailedPrecondition("adapter '{}' failed to load: {}", name,
                                std::string(entry->info.error.message()));
    default:
      return Unavailable("adapter '{}' is {}", name, Name(entry->info.state));
  }
}

absl::StatusOr<AdapterInfo> Catalogue::Get(const std::string& name) const {
  const EntryPtr entry = Find(name);
  if (entry == nullptr) return NotLoaded(name);
  return Snapshot(*entry);
}

std::vector<AdapterInfo> Catalogue::List() const {
  std::vector<AdapterInfo> list;
  list.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) list.push_back(Snapshot(*entry));
  return list;
}

void Catalogue::EndClaim(ClaimState& claim, const absl::Status& why) {
  if (claim.ended) return;
  if (claim.bound == nullptr) --claim.entry->waiting;
  claim.why = why;
  claim.ended = true;
  WakeRequests();
}

void Catalogue::EndWaiting(AdapterEntry& entry, const absl::Status& why) {
  for (ClaimState* claim : entry.claims) {
    if (claim->bound == nullptr) EndClaim(*claim, why);
  }
}

void Catalogue::EndClaims(AdapterEntry& entry, const absl::Status& why) {
  for (ClaimState* claim : entry.claims) EndClaim(*claim, why);
}

void Catalogue::Transition(AdapterEntry& entry, AdapterState to, AdapterChange change) {
  HYDRAD_CHECK(Follows(entry.info.state, to));
  entry.info.state = to;
  events_.push_back({Snapshot(entry), change});
}

AdapterInfo Catalogue::Snapshot(const AdapterEntry& entry) {
  AdapterInfo info = entry.info;
  info.handles = static_cast<int64_t>(entry.claims.size());
  return info;
}

}  // namespace hydrad
