#include "server/adapters/store/fetch_queue.h"

#include <utility>

namespace hydrad {
namespace {

constexpr size_t kMostAcquired = 256;

}  // namespace

void FetchQueue::Want(std::vector<std::string> names) {
  wanted_ = std::move(names);
  acquired_.clear();
}

void FetchQueue::Acquired(const std::string& name) {
  if (acquired_.size() < kMostAcquired) acquired_.push_back(name);
}

FetchQueue::Step FetchQueue::Next() {
  Step step;
  room_.Recheck();
  step.trials = Refresh();
  step.fetch = residency_.Next();
  generations_.NoteMoves();
  if (!step.fetch) NoteBlocked();
  return step;
}

std::vector<FetchQueue::Trial> FetchQueue::Refresh() {
  std::vector<Trial> trials;
  std::vector<ComponentId> components;
  std::set<ComponentId> seen;
  const auto add = [&](const EntryPtr& entry) {
    if (entry->serving == nullptr) return;
    for (const ComponentId component : entry->serving->components) {
      if (seen.insert(component).second) components.push_back(component);
    }
    if (auto generation = generations_.BeginTrial(entry)) trials.push_back({entry, std::move(generation)});
  };
  for (const EntryPtr& entry : room_.kept()) {
    if (Due(*entry)) add(entry);
  }
  for (const auto* names : {&wanted_, &acquired_}) {
    for (const std::string& name : *names) {
      const EntryPtr entry = catalogue_.Find(name);
      if (entry != nullptr && entry->waiting > 0) add(entry);
    }
  }
  residency_.SetWanted(components);
  return trials;
}

void FetchQueue::NoteBlocked() {
  std::set<EntryPtr> now;
  for (const ComponentId component : residency_.blocked()) now.insert(residency_.owner(component));
  if (now == blocked_) return;
  for (const EntryPtr& entry : blocked_) entry->blocked = false;
  for (const EntryPtr& entry : now) entry->blocked = true;
  blocked_ = std::move(now);
  catalogue_.WakeRequests();
}

bool FetchQueue::HasKeptToRetry() const {
  for (const EntryPtr& entry : room_.kept()) {
    if (entry->backoff.failed() && Due(*entry)) return true;
  }
  return false;
}

}  // namespace hydrad
