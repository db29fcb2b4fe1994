#include "server/scheduler/adapter_use.h"

namespace hydrad {

void AdapterUse::Enter(const AdapterHandle& adapter) {
  if (adapter) Change(adapter.name(), &Counts::waiting, 1);
}

uint64_t AdapterUse::Start(const AdapterHandle& adapter) {
  if (!adapter) return 0;
  Change(adapter.name(), &Counts::running, 1);
  Change(adapter.name(), &Counts::waiting, -1);
  Order& order = orders_[adapter.weights()];
  if (order.requests++ == 0) order.number = ++last_order_;
  return order.number;
}

void AdapterUse::Leave(const AdapterHandle& adapter, bool started) {
  if (!adapter) return;
  Change(adapter.name(), started ? &Counts::running : &Counts::waiting, -1);
  if (!started) return;
  const auto order = orders_.find(adapter.weights());
  if (--order->second.requests == 0) orders_.erase(order);
}

void AdapterUse::Change(const std::string& name, int Counts::*count, int by) {
  const auto entry = names_.try_emplace(name).first;
  const int before = entry->second.*count;
  entry->second.*count += by;
  if ((before == 0) != (before + by == 0)) changed_ = true;
  if (entry->second.running == 0 && entry->second.waiting == 0) names_.erase(entry);
}

std::string AdapterUse::Names(int Counts::*count) const {
  std::string names;
  for (const auto& [name, counts] : names_) {
    if (counts.*count == 0) continue;
    if (!names.empty()) names += ',';
    names += name;
  }
  return names;
}

}  // namespace hydrad
