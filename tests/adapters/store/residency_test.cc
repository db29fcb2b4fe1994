#include "server/adapters/store/residency.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/store/catalogue.h"  // AdapterEntry

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Kind = Residency::Work::Kind;
using Room = Residency::Room;

// Components of 10 bytes in host memory and on the device; room for three and for two of them.
class ResidencyTest : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = 10;

  // A component of one generation, as far up as `tier`.
  ComponentId Make(Tier tier) {
    const ComponentId id = residency_.Add(owner_, {"path", ""});
    residency_.Refer(id);
    if (tier == Tier::kDisk) {
      residency_.EndWork(id);
      residency_.Unrefer(id);
      for (const auto& garbage : residency_.TakeGarbage()) residency_.Free(garbage.id);
      const ComponentId known = residency_.AddKnown(owner_, {"path", "digest", kBytes, kBytes});
      residency_.Refer(known);
      return known;
    }
    EXPECT_EQ(residency_.ReserveHost(id, kBytes, &evicted_), Room::kYes);
    EXPECT_TRUE(residency_.FillHost(id, {"path", "digest", kBytes, kBytes}, Host(), &evicted_));
    if (tier == Tier::kDevice) {
      EXPECT_EQ(residency_.ReserveDevice(id, &evicted_), Room::kYes);
      residency_.FillDevice(id, Device());
    }
    residency_.EndWork(id);
    return id;
  }
  // Does what Next says, to its end; "read 3", "upload 4".
  std::vector<std::string> Work() {
    std::vector<std::string> done;
    while (auto work = residency_.Next()) {
      if (work->kind == Kind::kRead) {
        EXPECT_TRUE(
            residency_.FillHost(work->component, residency_.info(work->component), Host(), &evicted_));
      } else {
        residency_.FillDevice(work->component, Device());
      }
      residency_.EndWork(work->component);
      done.push_back(fmt::format("{} {}", work->kind == Kind::kRead ? "read" : "upload", work->component));
    }
    return done;
  }
  static Residency::HostCopy Host() { return std::make_shared<const HostComponent>(); }
  static Residency::DeviceCopy Device() { return std::make_shared<const DeviceComponent>(); }

  Residency residency_{3 * kBytes, 2 * kBytes, /*max_fetches=*/1};
  std::shared_ptr<AdapterEntry> owner_ = std::make_shared<AdapterEntry>("a");
  Residency::Evicted evicted_;
};

TEST_F(ResidencyTest, WantedComponentsComeUpMostUrgentFirst) {
  const ComponentId disk = Make(Tier::kDisk), host = Make(Tier::kHost), other = Make(Tier::kDisk);
  residency_.SetWanted({disk, host});
  EXPECT_THAT(Work(), ElementsAre(fmt::format("read {}", disk), fmt::format("upload {}", disk),
                                  fmt::format("upload {}", host)));
  EXPECT_EQ(residency_.TierOf(disk), Tier::kDevice);
  EXPECT_EQ(residency_.TierOf(other), Tier::kDisk);
  EXPECT_EQ(residency_.host_used(), 2 * kBytes);
  EXPECT_EQ(residency_.device_used(), 2 * kBytes);
  EXPECT_THAT(residency_.blocked(), IsEmpty());
}

TEST_F(ResidencyTest, OnlyLessUrgentAndUnwantedComponentsMakeRoom) {
  const ComponentId a = Make(Tier::kDevice), b = Make(Tier::kDevice), c = Make(Tier::kHost);
  residency_.SetWanted({a, b, c});
  EXPECT_THAT(Work(), IsEmpty());
  EXPECT_THAT(residency_.blocked(), ElementsAre(c));
  residency_.SetWanted({c, a, b});
  EXPECT_THAT(Work(), ElementsAre(fmt::format("upload {}", c))) << "one of the others has gone for it";
  EXPECT_EQ(residency_.blocked().size(), 1u);
  residency_.SetWanted({c});
  EXPECT_THAT(Work(), IsEmpty());
}

TEST_F(ResidencyTest, PinnedAndKeptComponentsStay) {
  const ComponentId a = Make(Tier::kDevice), b = Make(Tier::kDevice), c = Make(Tier::kHost);
  residency_.Hold(a);
  residency_.SetKept(b, true);
  residency_.SetWanted({c});
  EXPECT_THAT(Work(), IsEmpty());
  EXPECT_THAT(residency_.blocked(), ElementsAre(c));
  residency_.Release(a);
  EXPECT_THAT(Work(), ElementsAre(fmt::format("upload {}", c)));
  EXPECT_EQ(residency_.TierOf(a), Tier::kHost);
  EXPECT_EQ(residency_.TierOf(b), Tier::kDevice);
}

TEST_F(ResidencyTest, WhoFindsNoRoomIsToldSo) {
  const ComponentId a = Make(Tier::kDevice), big = Make(Tier::kHost), small = Make(Tier::kHost);
  residency_.Hold(a);
  residency_.SetWanted({a, big, small});
  EXPECT_THAT(Work(), ElementsAre(fmt::format("upload {}", big)));
  EXPECT_THAT(residency_.blocked(), ElementsAre(small));
}

TEST_F(ResidencyTest, WorkIsBounded) {
  const ComponentId a = Make(Tier::kDisk), b = Make(Tier::kDisk);
  residency_.SetWanted({a, b});
  ASSERT_TRUE(residency_.Next());
  EXPECT_FALSE(residency_.Next()) << "one at a time";
  residency_.EndWork(a);
  EXPECT_EQ(residency_.host_used(), 0u) << "it was not filled";
}

TEST_F(ResidencyTest, ComponentsGoWithTheirLastGeneration) {
  const ComponentId shared = Make(Tier::kDevice);
  residency_.Refer(shared);
  residency_.Unrefer(shared);
  EXPECT_THAT(residency_.TakeGarbage(), IsEmpty());
  residency_.Unrefer(shared);
  auto garbage = residency_.TakeGarbage();
  ASSERT_EQ(garbage.size(), 1u);
  EXPECT_EQ(garbage[0].values.size(), 2u);
  EXPECT_EQ(residency_.device_used(), kBytes) << "until it has been destroyed";
  residency_.SetWanted({shared});
  EXPECT_FALSE(residency_.Next()) << "it does not come back";
  residency_.Free(shared);
  EXPECT_EQ(residency_.device_used(), 0u);
  EXPECT_EQ(residency_.host_used(), 0u);
}

TEST_F(ResidencyTest, WhatGoesWhileItIsWorkedOnGoesWhenTheWorkEnds) {
  const ComponentId a = Make(Tier::kHost);
  residency_.SetWanted({a});
  const auto work = residency_.Next();
  ASSERT_TRUE(work);
  residency_.Unrefer(a);
  EXPECT_THAT(residency_.TakeGarbage(), IsEmpty());
  residency_.FillDevice(a, Device());
  residency_.EndWork(a);
  EXPECT_EQ(residency_.TakeGarbage().size(), 1u);
}

TEST_F(ResidencyTest, LoadsTakeHostMemoryFromWhatIsNotWorkedOn) {
  const ComponentId a = Make(Tier::kHost), b = Make(Tier::kHost), c = Make(Tier::kHost);
  residency_.SetWanted({a, c});
  const ComponentId first = residency_.Add(owner_, {"path", ""}),
                    second = residency_.Add(owner_, {"path", ""});
  EXPECT_EQ(residency_.ReserveHost(first, 4 * kBytes, &evicted_), Room::kNever);
  EXPECT_EQ(residency_.ReserveHost(first, kBytes, &evicted_), Room::kYes);
  EXPECT_EQ(residency_.TierOf(b), Tier::kDisk) << "what nobody wants first";
  const auto moves = residency_.TakeMoves();
  ASSERT_EQ(moves.size(), 1u) << "all of one owner";
  EXPECT_TRUE(moves[0].evicted);
  EXPECT_EQ(residency_.ReserveHost(second, 3 * kBytes, &evicted_), Room::kLater);
  EXPECT_EQ(residency_.ReserveHost(second, 2 * kBytes, &evicted_), Room::kYes);
  EXPECT_EQ(residency_.TierOf(a), Tier::kDisk) << "then what waits: it comes again";
  EXPECT_EQ(evicted_.size(), 3u);
}

}  // namespace
}  // namespace hydrad
