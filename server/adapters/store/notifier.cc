#include "server/adapters/store/notifier.h"

#include <utility>
#include <vector>

namespace hydrad {

void Notifier::Settle() {
  GiveMemoryBack();
  std::vector<std::pair<Unloads::Done, AdapterInfo>> over;
  bool wake = false;
  {
    MutexLock lock(&state_.mu);
    over = state_.unloads.TakeOver();
    wake = state_.catalogue.TakeWake();
  }
  DeliverEvents();
  for (const auto& [done, info] : over) done(info);
  if (!wake) return;
  MutexLock lock(&watch_mu_);
  if (waker_) waker_();
}

void Notifier::GiveMemoryBack() {
  MutexLock memory(&memory_mu_);
  std::vector<Residency::Garbage> garbage;
  {
    MutexLock lock(&state_.mu);
    garbage = state_.residency.TakeGarbage();
  }
  for (Residency::Garbage& component : garbage) component.values.clear();
  MutexLock lock(&state_.mu);
  for (const Residency::Garbage& component : garbage) {
    state_.residency.Free(component.id);
    if (component.owner == nullptr) continue;
    --component.owner->components;
    state_.unloads.FinishIfUnused(component.owner);
  }
}

void Notifier::DeliverEvents() {
  MutexLock lock(&watch_mu_);
  DeliverEventsLocked();
}

void Notifier::DeliverEventsLocked() {
  std::vector<AdapterEvent> events;
  {
    MutexLock lock(&state_.mu);
    events = state_.catalogue.TakeEvents();
  }
  for (const AdapterEvent& event : events) {
    for (const auto& [token, watcher] : watchers_) watcher(event);
  }
}

uint64_t Notifier::AddWatcher(AdapterStore::Event event) {
  MutexLock lock(&watch_mu_);
  DeliverEventsLocked();  // what happened before now is not the new watcher's
  watchers_.emplace(++last_watcher_, std::move(event));
  return last_watcher_;
}

void Notifier::RemoveWatcher(uint64_t token) {
  MutexLock lock(&watch_mu_);
  watchers_.erase(token);
}

void Notifier::SetWaker(std::function<void()> waker) {
  MutexLock lock(&watch_mu_);
  waker_ = std::move(waker);
}

}  // namespace hydrad
