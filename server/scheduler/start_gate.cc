#include "server/scheduler/start_gate.h"

#include <algorithm>
#include <utility>

namespace hydrad {
namespace {

// More names than a device could make room for in a while; the rest is told when its turn comes.
constexpr size_t kMostWanted = 256;

struct Starving {
  ptrdiff_t count = 0;
  int place = INT_MAX;  // of the most urgent
};

Starving FindStarving(std::span<const AdapterDemand> adapters, Duration patience) {
  Starving found;
  for (const AdapterDemand& a : adapters) {
    if (a.waiting == 0 || a.ready || !a.blocked || a.waited <= patience) continue;
    ++found.count;
    found.place = std::min(found.place, a.place);
  }
  return found;
}

}  // namespace

std::vector<bool> ChooseDraining(std::span<const AdapterDemand> adapters, Duration patience) {
  const Starving starving = FindStarving(adapters, patience);
  std::vector<bool> draining(adapters.size(), false);
  if (starving.count == 0) return draining;
  std::vector<size_t> victims;
  ptrdiff_t ending = 0;  // of those that are marked, whose requests still run
  for (size_t i = 0; i < adapters.size(); ++i) {
    const AdapterDemand& a = adapters[i];
    if (a.draining && a.ready && !a.kept && (a.running > 0 || starving.place < a.place)) {
      draining[i] = true;
      ending += a.running > 0;
    } else if (a.running > 0 && !a.kept && a.in_use >= patience) {
      victims.push_back(i);
    }
  }
  std::ranges::stable_sort(victims,
                           [&](size_t a, size_t b) { return adapters[a].in_use > adapters[b].in_use; });
  victims.resize(
      std::min(victims.size(), static_cast<size_t>(std::max<ptrdiff_t>(starving.count - ending, 0))));
  for (const size_t victim : victims) draining[victim] = true;
  return draining;
}

void StartGate::Begin(TimePoint now) {
  now_ = now;
  index_.clear();
  demands_.clear();
  places_ = 0;
  draining_.clear();
  names_.clear();
}

size_t StartGate::IndexOf(const AdapterHandle& handle) {
  const auto [found, fresh] = index_.try_emplace(handle.key(), demands_.size());
  if (fresh) {
    AdapterDemand& demand = demands_.emplace_back();
    demand.ready = handle.ready();
    demand.blocked = handle.blocked();
    demand.kept = handle.kept();
    demand.draining = drained_.contains(handle.key());
  }
  return found->second;
}

void StartGate::AddRunning(const AdapterHandle& handle) {
  AdapterDemand& demand = demands_[IndexOf(handle)];
  ++demand.running;
  demand.in_use = now_ - in_use_since_.try_emplace(handle.key(), now_).first->second;
}

void StartGate::AddWaiting(const AdapterHandle& handle, TimePoint since) {
  AdapterDemand& demand = demands_[IndexOf(handle)];
  if (demand.waiting++ == 0) {
    demand.place = places_++;
    // A running request is bound, whatever became of its name since; this one tells how its adapter stands.
    demand.ready = handle.ready();
    demand.blocked = handle.blocked();
    if (names_.size() < kMostWanted) names_.push_back(handle.name());
  }
  demand.waited = std::max(demand.waited, now_ - since);
}

void StartGate::Decide() {
  std::erase_if(in_use_since_, [this](const auto& use) {
    const auto found = index_.find(use.first);
    return found == index_.end() || demands_[found->second].running == 0;
  });
  draining_ = ChooseDraining(demands_, patience_);
  if (FindStarving(demands_, patience_).count == 0) drained_.clear();
  for (const auto& [key, i] : index_) {  // of what nobody asks for now, the mark stays
    if (draining_[i]) {
      drained_.insert(key);
    } else {
      drained_.erase(key);
    }
  }
  if (names_ == wanted_) return;
  std::swap(names_, wanted_);
  if (want_) want_(wanted_);
}

bool StartGate::MayStart(const AdapterHandle& handle) const {
  if (handle.bound()) return true;
  const auto found = index_.find(handle.key());
  return handle.ready() && !(found != index_.end() && draining_[found->second]);
}

}  // namespace hydrad
