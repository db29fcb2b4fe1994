#include "server/adapters/store/generations.h"

#include <algorithm>
#include <utility>

namespace hydrad {

std::shared_ptr<const AdapterGeneration> Generations::Hold(const std::string& name, Generation& generation) {
  std::vector<Residency::DeviceCopy> copies;
  for (const ComponentId component : generation.components) copies.push_back(residency_.Hold(component));
  if (generation.holders++ == 0) generation.on_device = Assemble(name, generation.number, copies);
  return generation.on_device;
}

std::shared_ptr<const AdapterGeneration> Generations::Assemble(
    const std::string& name, uint64_t number, const std::vector<Residency::DeviceCopy>& copies) const {
  auto whole = std::make_shared<AdapterGeneration>();
  whole->name = name;
  whole->generation = number;
  if (copies.front()->routers) {
    whole->mixture = MakeMixture(copies, layers_);
    return whole;
  }
  whole->device = copies.front()->device;
  whole->traits = copies.front()->traits;
  whole->invocation = copies.front()->invocation;
  return whole;
}

void Generations::Release(Generation& generation) {
  if (--generation.holders == 0) generation.on_device.reset();
  for (const ComponentId component : generation.components) residency_.Release(component);
  DropIfUnused(generation);
}

void Generations::Retire(Generation& generation) {
  generation.serving = false;
  DropIfUnused(generation);
}

void Generations::DropIfUnused(const Generation& generation) {
  if (generation.serving || generation.holders > 0) return;
  for (const ComponentId component : generation.components) residency_.Unrefer(component);
}

std::shared_ptr<Generation> Generations::BeginTrial(const EntryPtr& entry) {
  const std::shared_ptr<Generation>& generation = entry->serving;
  if (!must_be_tried_ || generation->tried || generation->trying || !OnDevice(generation->components)) {
    return nullptr;
  }
  generation->trying = true;
  Hold(entry->name, *generation);
  return generation;
}

void Generations::EndTrial(Generation& generation, bool worked) {
  generation.trying = false;
  generation.tried = worked;
}

Tier Generations::TierOf(const Generation& generation) const {
  Tier lowest = Tier::kDevice;
  for (const ComponentId component : generation.components) {
    lowest = std::min(lowest, residency_.TierOf(component));
  }
  return lowest;
}

bool Generations::OnDevice(const std::vector<ComponentId>& components) const {
  return std::ranges::all_of(
      components, [this](ComponentId component) { return residency_.TierOf(component) == Tier::kDevice; });
}

bool Generations::MayRun(const Generation& generation) const {
  return (generation.tried || !must_be_tried_) && OnDevice(generation.components);
}

uint64_t Generations::DeviceBytesOf(const AdapterEntry& entry) const {
  uint64_t bytes = 0;
  if (entry.serving == nullptr) return 0;
  for (const ComponentId component : entry.serving->components) {
    bytes += residency_.info(component).device_bytes;
  }
  return bytes;
}

void Generations::NoteMoves() {
  for (const Residency::Move& move : residency_.TakeMoves()) {
    if (move.owner != nullptr && move.owner->serving != nullptr) NoteMove(*move.owner, move.evicted);
  }
}

void Generations::NoteMove(AdapterEntry& entry, bool evicted) {
  const Tier tier = TierOf(*entry.serving), before = entry.info.tier;
  entry.info.device_bytes = entry.info.host_bytes = 0;
  for (size_t i = 0; i < entry.serving->components.size(); ++i) {
    const ComponentInfo& info = residency_.info(entry.serving->components[i]);
    entry.info.device_bytes += info.device_bytes;
    entry.info.host_bytes += info.host_bytes;
    if (!entry.info.components.empty()) entry.info.components[i].device_bytes = info.device_bytes;
  }
  entry.ready = MayRun(*entry.serving);
  if (tier == before) return;
  if (tier > before && entry.fetch_begun) {
    entry.info.load_seconds = Seconds(clock_.Now() - *entry.fetch_begun);
    entry.info.error = absl::OkStatus();
  }
  if (tier == Tier::kDevice) {
    entry.fetch_begun.reset();
    entry.backoff.Worked();
    catalogue_.WakeRequests();
  }
  catalogue_.Moved(entry, tier, evicted && tier < before ? AdapterChange::kEvicted : AdapterChange::kFetched);
}

}  // namespace hydrad
