// What the store knows, without its lock, threads, disk and device.
#ifndef HYDRAD_TESTS_ADAPTERS_STORE_STATE_FIXTURE_H_
#define HYDRAD_TESTS_ADAPTERS_STORE_STATE_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>

#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/device_room.h"
#include "server/adapters/store/generations.h"
#include "server/adapters/store/residency.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {

// Adapters of one component of 10 bytes, in host memory and on the device, which have room for ten and for
// three of them.
class StateFixture : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = 10;
  using EntryPtr = Catalogue::EntryPtr;

  explicit StateFixture(bool must_be_tried = false)
      : generations_(catalogue_, residency_, clock_, /*layers=*/1, must_be_tried) {}

  // An adapter that serves, as far up as `tier`.
  EntryPtr Serve(const std::string& name, Tier tier, uint64_t bytes = kBytes) {
    const EntryPtr entry = catalogue_.BeginLoad(name, name);
    const ComponentInfo component{name, "digest of " + name, bytes, bytes};
    auto generation = std::make_shared<Generation>();
    generation->number = catalogue_.NextGeneration();
    generation->components = {tier == Tier::kDisk ? residency_.AddKnown(entry, component)
                                                  : residency_.Add(entry, component)};
    residency_.Refer(generation->components[0]);
    ++entry->components;
    if (tier != Tier::kDisk) PutInMemory(generation->components[0], component, tier);
    AdapterInfo info;
    info.path = name;
    info.tier = tier;
    catalogue_.Publish(*entry, generation, info);
    entry->ready = generations_.MayRun(*generation);
    residency_.TakeMoves();
    catalogue_.TakeEvents();
    return entry;
  }
  // A request that waits for `entry`.
  ClaimState& Claim(const EntryPtr& entry) {
    ClaimState& claim = claims_.emplace_back();
    claim.entry = entry;
    entry->claims.insert(&claim);
    ++entry->waiting;
    return claim;
  }
  static void Drop(ClaimState& claim) {
    claim.entry->claims.erase(&claim);
    if (claim.bound == nullptr && !claim.ended) --claim.entry->waiting;
  }
  // Does what `work` says, to its end; "read a", "upload a".
  std::string Do(const Residency::Work& work) {
    const bool read = work.kind == Residency::Work::Kind::kRead;
    const ComponentInfo info = residency_.info(work.component);
    if (read) {
      EXPECT_TRUE(residency_.FillHost(work.component, info, Host(), &evicted_));
    } else {
      residency_.FillDevice(work.component, Device());
    }
    residency_.EndWork(work.component);
    generations_.NoteMoves();
    return (read ? "read " : "upload ") + info.path;
  }
  // Frees what has gone, as the store does without its lock. The number of components.
  size_t GiveMemoryBack() {
    const auto garbage = residency_.TakeGarbage();
    for (const Residency::Garbage& component : garbage) {
      residency_.Free(component.id);
      --component.owner->components;
    }
    return garbage.size();
  }

  FakeClock clock_;
  Catalogue catalogue_{10};
  Residency residency_{10 * kBytes, 3 * kBytes, /*max_fetches=*/1};
  Generations generations_;
  DeviceRoom room_{catalogue_, residency_, generations_};
  Residency::Evicted evicted_;

 private:
  static Residency::HostCopy Host() { return std::make_shared<const HostComponent>(); }
  static Residency::DeviceCopy Device() { return std::make_shared<const DeviceComponent>(); }
  void PutInMemory(ComponentId id, const ComponentInfo& info, Tier tier) {
    ASSERT_EQ(residency_.ReserveHost(id, info.host_bytes, &evicted_), Residency::Room::kYes);
    ASSERT_TRUE(residency_.FillHost(id, info, Host(), &evicted_));
    if (tier == Tier::kDevice) {
      ASSERT_EQ(residency_.ReserveDevice(id, &evicted_), Residency::Room::kYes);
      residency_.FillDevice(id, Device());
    }
    residency_.EndWork(id);
  }

  std::deque<ClaimState> claims_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_ADAPTERS_STORE_STATE_FIXTURE_H_
