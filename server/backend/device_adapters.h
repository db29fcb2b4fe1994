// The adapters and routers that a device holds, by the slots under which steps name them.
#ifndef HYDRAD_SERVER_BACKEND_DEVICE_ADAPTERS_H_
#define HYDRAD_SERVER_BACKEND_DEVICE_ADAPTERS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "server/backend/adapter_weights.h"
#include "server/backend/expert_router.h"
#include "server/backend/slot_table.h"
#include "server/backend/step.h"
#include "server/base/check.h"

namespace hydrad {

// One generation of one adapter on the device. Immutable. May be destroyed on any thread once no step uses
// it.
class DeviceAdapter {
 public:
  virtual ~DeviceAdapter() = default;
  virtual size_t bytes() const = 0;  // exactly what it holds on the device
  // Of its routed projections; empty without routers.
  virtual std::span<const GatePlace> gate_places() const { return {}; }
  // Gates in a row of a record.
  int gate_count() const {
    const auto places = gate_places();
    return places.empty() ? 0 : places.back().begin + places.back().experts;
  }
  // How many tokens its rows may have in a step; 0: those of the base.
  virtual int vocab() const { return 0; }
  // What steps call it; -1 for one that no device has taken in.
  int32_t slot() const { return slot_.number(); }

 private:
  friend class DeviceAdapters;
  SlotTable<DeviceAdapter>::Slot slot_;
};

using RouterSlot = SlotTable<Router>::Slot;

// Thread-safe: loader threads add, the scheduler thread looks up. An adapter's slot is its own until it is
// destroyed, a router's until its RouterSlot is. Must outlive both.
class DeviceAdapters {
 public:
  void Add(DeviceAdapter& adapter) { adapter.slot_ = adapters_.Take(adapter); }
  RouterSlot Add(const Router& router) { return routers_.Take(router); }

  // Null when nothing holds the slot.
  const DeviceAdapter* FindAdapter(int32_t slot) const { return adapters_.Find(slot); }
  const Router* FindRouter(int32_t slot) const { return routers_.Find(slot); }

  // REQUIRES: the slot is held.
  const DeviceAdapter& adapter(int32_t slot) const { return Held(FindAdapter(slot)); }
  const Router& router(int32_t slot) const { return Held(FindRouter(slot)); }

 private:
  template <class T>
  static const T& Held(const T* thing) {
    HYDRAD_CHECK(thing != nullptr);
    return *thing;
  }

  SlotTable<DeviceAdapter> adapters_;
  SlotTable<Router> routers_;
};

// Whether every token of the batch is one of the base's `vocab`, or of those that the adapter of its row has.
bool KnowsTokens(const DeviceAdapters& held, const Batch& batch, int vocab);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_DEVICE_ADAPTERS_H_
