#include "server/adapters/store/residency.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "server/base/check.h"

namespace hydrad {

const char* Name(Tier tier) {
  switch (tier) {
    case Tier::kDisk:
      return "disk";
    case Tier::kHost:
      return "host";
    case Tier::kDevice:
      return "device";
  }
  return "unknown";
}

ComponentId Residency::Add(Owner owner, ComponentInfo info) {
  const ComponentId id = ++last_id_;
  Component& component = components_[id];
  component.owner = std::move(owner);
  component.info = std::move(info);
  component.working = true;
  return id;
}

ComponentId Residency::AddKnown(Owner owner, ComponentInfo info) {
  const ComponentId id = Add(std::move(owner), std::move(info));
  Get(id).working = false;
  return id;
}

template <class Copy>
void Residency::Note(std::vector<typename ByteCache<Copy>::Evicted> gone, Evicted* evicted) {
  for (auto& [id, copy] : gone) {
    moves_[Get(id).owner] = true;
    evicted->push_back(std::move(copy));
  }
}

bool Residency::MayLeaveHost(ComponentId id, size_t from) const {
  const Component& component = components_.at(id);
  return !component.rank || device_.Find(id) != nullptr || *component.rank >= from;
}

bool Residency::MayLeaveDevice(ComponentId id, size_t from) const {
  const Component& component = components_.at(id);
  return !component.kept && (!component.rank || *component.rank >= from);
}

// Throws out what nobody wants first, then what is less urgent.
bool Residency::ReserveHostFor(ComponentId id, uint64_t bytes, size_t from, Evicted* evicted) {
  std::vector<ByteCache<HostCopy>::Evicted> gone;
  const auto unwanted = [this](ComponentId p) { return MayLeaveHost(p, SIZE_MAX); };
  const auto less_wanted = [&](ComponentId p) { return MayLeaveHost(p, from); };
  const auto reserve = [&](const auto& may_evict) {
    return host_.Has(id) ? host_.Resize(id, bytes, may_evict, &gone)
                         : host_.Reserve(id, bytes, may_evict, &gone);
  };
  const bool reserved = reserve(unwanted) || reserve(less_wanted);
  Note<HostCopy>(std::move(gone), evicted);
  return reserved;
}

// The same, the least urgent first.
bool Residency::ReserveDeviceFor(ComponentId id, size_t from, Evicted* evicted) {
  std::vector<ByteCache<DeviceCopy>::Evicted> gone;
  const auto unwanted = [this](ComponentId p) { return MayLeaveDevice(p, SIZE_MAX); };
  const uint64_t bytes = Get(id).info.device_bytes;
  bool reserved = device_.Reserve(id, bytes, unwanted, &gone);
  for (size_t least = wanted_.size(); !reserved && least > from;) {
    if (device_.Find(wanted_[--least]) == nullptr) continue;
    const auto less_wanted = [&](ComponentId p) { return MayLeaveDevice(p, least); };
    reserved = device_.Reserve(id, bytes, less_wanted, &gone);
  }
  Note<DeviceCopy>(std::move(gone), evicted);
  return reserved;
}

Residency::Room Residency::ReserveHost(ComponentId id, uint64_t bytes, Evicted* evicted) {
  if (bytes > host_.capacity()) return Room::kNever;
  return ReserveHostFor(id, bytes, 0, evicted) ? Room::kYes : Room::kLater;
}

bool Residency::FillHost(ComponentId id, ComponentInfo info, HostCopy copy, Evicted* evicted) {
  Component& component = Get(id);
  if (!ReserveHostFor(id, info.host_bytes, component.rank ? *component.rank + 1 : 0, evicted)) return false;
  component.info = std::move(info);
  host_.Fill(id, std::move(copy));
  host_.Hold(id);
  component.host_held = true;
  moves_.try_emplace(component.owner, false);
  return true;
}

Residency::Room Residency::ReserveDevice(ComponentId id, Evicted* evicted) {
  if (Get(id).info.device_bytes > device_.capacity()) return Room::kNever;
  return ReserveDeviceFor(id, wanted_.size(), evicted) ? Room::kYes : Room::kLater;
}

void Residency::FillDevice(ComponentId id, DeviceCopy copy) {
  device_.Fill(id, std::move(copy));
  moves_.try_emplace(Get(id).owner, false);
}

void Residency::EndWork(ComponentId id) {
  Component& component = Get(id);
  HYDRAD_CHECK(component.working);
  component.working = false;
  if (std::exchange(component.fetching, false)) --fetches_;
  if (std::exchange(component.host_held, false)) host_.Release(id);
  if (host_.Has(id) && host_.Find(id) == nullptr) host_.Free(id);
  if (device_.Has(id) && device_.Find(id) == nullptr) device_.Free(id);
  CollectIfUnused(id, component);
}

void Residency::Refer(ComponentId id) { ++Get(id).generations; }

void Residency::Unrefer(ComponentId id) {
  Component& component = Get(id);
  HYDRAD_CHECK(component.generations > 0);
  --component.generations;
  CollectIfUnused(id, component);
}

void Residency::CollectIfUnused(ComponentId id, Component& component) {
  if (component.generations > 0 || component.working) return;
  Garbage garbage{id, component.owner, {}};
  if (host_.Find(id) != nullptr) garbage.values.push_back(host_.Take(id));
  if (device_.Find(id) != nullptr) garbage.values.push_back(device_.Take(id));
  garbage_.push_back(std::move(garbage));
}

void Residency::Free(ComponentId id) {
  if (host_.Has(id)) host_.Free(id);
  if (device_.Has(id)) device_.Free(id);
  std::erase(wanted_, id);
  blocked_.erase(id);
  components_.erase(id);
}

Residency::DeviceCopy Residency::Hold(ComponentId id) {
  device_.Hold(id);
  return *device_.Find(id);
}

void Residency::SetWanted(const std::vector<ComponentId>& components) {
  for (const ComponentId id : wanted_) Get(id).rank.reset();
  wanted_ = components;
  for (size_t rank = 0; rank < wanted_.size(); ++rank) Get(wanted_[rank]).rank = rank;
}

std::optional<Residency::Work> Residency::Next() {
  host_waits_ = device_waits_ = false;
  if (fetches_ >= max_fetches_) {  // what was blocked still is, unless it has gone
    std::erase_if(blocked_, [this](ComponentId p) { return !Get(p).rank || device_.Has(p); });
    return std::nullopt;
  }
  blocked_.clear();
  for (size_t rank = 0; rank < wanted_.size(); ++rank) {
    const ComponentId id = wanted_[rank];
    const Component& component = Get(id);
    if (component.working || component.generations == 0 || device_.Find(id) != nullptr) continue;
    if (std::optional<Work> work = Try(id, rank)) return work;
  }
  if (!host_waits_) host_line_.NobodyWaits();
  if (!device_waits_) device_line_.NobodyWaits();
  return std::nullopt;
}

std::optional<Residency::Work> Residency::Try(ComponentId id, size_t rank) {
  if (host_.Find(id) == nullptr) return TryToRead(id, rank);
  Evicted evicted;
  if ((!device_waits_ || device_line_.MayPass()) && ReserveDeviceFor(id, rank + 1, &evicted)) {
    return Begin(Work::Kind::kUpload, id, std::move(evicted));
  }
  blocked_.insert(id);
  WaitForDevice(id, rank);
  return std::nullopt;
}

std::optional<Residency::Work> Residency::TryToRead(ComponentId id, size_t rank) {
  const ComponentInfo& info = Get(id).info;
  const uint64_t bytes = std::max(info.host_bytes, info.reading_bytes);
  Evicted evicted;
  if ((!host_waits_ || host_line_.MayPass()) && ReserveHostFor(id, bytes, rank + 1, &evicted)) {
    return Begin(Work::Kind::kRead, id, std::move(evicted));
  }
  WaitForHost(id, bytes, rank);
  return std::nullopt;
}

void Residency::WaitForHost(ComponentId id, uint64_t bytes, size_t rank) {
  if (std::exchange(host_waits_, true)) return;
  std::vector<RoomLine::Taken> taken;
  host_.ForEach([&](ComponentId p, uint64_t size, bool idle) {
    const auto at = Get(p).rank;
    taken.push_back({p, size, idle && MayLeaveHost(p, rank + 1), !at || *at > rank});
  });
  host_line_.Waits(id, bytes, host_.capacity(), taken);
}

void Residency::WaitForDevice(ComponentId id, size_t rank) {
  if (std::exchange(device_waits_, true)) return;
  std::vector<RoomLine::Taken> taken;
  device_.ForEach([&](ComponentId p, uint64_t size, bool idle) {
    const Component& component = Get(p);
    const bool behind = !component.kept && (!component.rank || *component.rank > rank);
    taken.push_back({p, size, idle && MayLeaveDevice(p, rank + 1), behind});
  });
  device_line_.Waits(id, Get(id).info.device_bytes, device_.capacity(), taken);
}

Residency::Work Residency::Begin(Work::Kind kind, ComponentId id, Evicted evicted) {
  Component& component = Get(id);
  component.working = component.fetching = true;
  ++fetches_;
  if (kind == Work::Kind::kUpload) {
    host_.Hold(id);
    component.host_held = true;
  }
  return {kind, id, std::move(evicted)};
}

std::vector<Residency::Move> Residency::TakeMoves() {
  std::vector<Move> moves;
  for (auto& [owner, evicted] : std::exchange(moves_, {})) moves.push_back({owner, evicted});
  return moves;
}

Tier Residency::TierOf(ComponentId id) const {
  if (device_.Find(id) != nullptr) return Tier::kDevice;
  return host_.Find(id) != nullptr ? Tier::kHost : Tier::kDisk;
}

}  // namespace hydrad
