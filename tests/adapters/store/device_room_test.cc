#include "server/adapters/store/device_room.h"

#include "tests/adapters/store/state_fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

class DeviceRoomTest : public StateFixture {
 protected:
  static void ExpectNoRoom(const absl::Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EntryPtr ServePinned(const std::string& name, uint64_t bytes) {
    const EntryPtr entry = Serve(name, Tier::kHost, bytes);
    catalogue_.SetPinned(*entry, true);
    room_.NoteChange();
    return entry;
  }
};

TEST_F(DeviceRoomTest, WhatOneRequestNeedsMustFitTogether) {
  const EntryPtr a = Serve("a", Tier::kHost), two = Serve("two", Tier::kHost, 2 * kBytes),
                 other = Serve("other", Tier::kHost);
  EXPECT_TRUE(room_.CheckFits({a, two}).ok());
  ExpectNoRoom(room_.CheckFits({a, two, other}),
               "needs 40 bytes on the device at once, where adapters have 30");
  room_.Keep(other, true);
  ExpectNoRoom(room_.CheckFits({a, two}), "of which pinned ones take 10: adapter 'a', 'two'");
  EXPECT_TRUE(room_.CheckFits({other, two}).ok()) << "its own pin is not in its way";
}

TEST_F(DeviceRoomTest, WhatCanNeverBeReadDoesNotFit) {
  const EntryPtr large = Serve("large", Tier::kDisk, 11 * kBytes);
  ExpectNoRoom(room_.CheckFits({large}), "adapter 'large': needs 110 bytes of host memory");
}

TEST_F(DeviceRoomTest, PinsMustFitBesideEachOther) {
  const EntryPtr a = Serve("a", Tier::kHost, 2 * kBytes), b = Serve("b", Tier::kHost, 2 * kBytes);
  room_.Keep(a, true);
  EXPECT_TRUE(room_.CheckPinFits(a, 3 * kBytes).ok()) << "in place of itself";
  ExpectNoRoom(room_.CheckPinFits(b, 2 * kBytes),
               "the pinned adapters would take 40 bytes on the device, of 30");
  room_.StopKeeping(a);
  EXPECT_FALSE(a->kept);
  EXPECT_TRUE(room_.CheckPinFits(b, 2 * kBytes).ok());
}

TEST_F(DeviceRoomTest, RecheckKeepsAsManyPinnedOnesAsFit) {
  const EntryPtr a = ServePinned("a", 2 * kBytes), b = ServePinned("b", 2 * kBytes),
                 c = ServePinned("c", kBytes);
  EXPECT_TRUE(room_.Recheck());
  EXPECT_THAT(room_.kept(), testing::UnorderedElementsAre(a, c));
  EXPECT_FALSE(b->kept);
  EXPECT_FALSE(room_.Recheck()) << "nothing has changed";
  room_.StopKeeping(a);
  catalogue_.SetPinned(*a, false);
  EXPECT_TRUE(room_.Recheck());
  EXPECT_THAT(room_.kept(), testing::UnorderedElementsAre(b, c));
}

TEST_F(DeviceRoomTest, ClaimsOnWhatCannotFitAnyMoreEnd) {
  const EntryPtr a = ServePinned("a", 2 * kBytes), large = Serve("large", Tier::kHost, 2 * kBytes),
                 small = Serve("small", Tier::kHost);
  ClaimState& refused = Claim(large);
  ClaimState& waits = Claim(small);
  room_.Recheck();
  EXPECT_TRUE(refused.ended);
  ExpectNoRoom(refused.why, "'large'");
  EXPECT_FALSE(waits.ended);
  EXPECT_TRUE(catalogue_.TakeWake());
  EXPECT_EQ(large->waiting, 0);
}

}  // namespace
}  // namespace hydrad
