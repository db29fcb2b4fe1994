// The experts of a served MoA are replaced, added and removed one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Experts = std::vector<std::pair<std::string, uint32_t>>;

// "mix" holds three experts of the same size, and routers over them.
class MoaComponentsTest : public StoreFixture {
 protected:
  static constexpr uint64_t kRow = 2 * 8 * sizeof(float);  // of one expert on the device
  const Experts three_ = {{"poems", 1}, {"sums", 2}, {"jokes", 3}};

  MoaComponentsTest() {
    Put("mix", three_);
    const auto mix = *ReadAdapter(disk_, "mix", TinyModel().adapter_shape(), 1 << 20);
    expert_ = backend_.AdapterBytes(mix.experts_by_name[0].weights, TinyModel().adapter_shape());
    whole_ = 3 * (expert_ + kRow);
    whole_host_ = mix.host_bytes;
    expert_host_ = mix.expert_host_bytes[0];
  }
  void Put(const std::string& path, const Experts& experts, uint32_t router_seed = 1) {
    disk_.Put(path, MoaOf(experts, router_seed).Bytes());
  }
  // What stands on the device as an expert.
  static uint64_t ContentOf(const AdapterHandle& handle, const char* expert) {
    const Mixture& mixture = *handle.mixture();
    return FakeBackend::ContentOf(*mixture.experts()[mixture.Find(expert)]->adapter);
  }
  static const DeviceAdapter* DeviceOf(const AdapterHandle& handle, const char* expert) {
    const Mixture& mixture = *handle.mixture();
    return mixture.experts()[mixture.Find(expert)]->adapter.get();
  }
  static uint64_t ContentOf(uint32_t seed) {
    FakeDisk disk;
    disk.Put("x", MoaOf({{"x", seed}}).Bytes());
    return FakeBackend::ContentOf(
        ReadAdapter(disk, "x", TinyModel().adapter_shape(), 1 << 20)->experts_by_name[0].weights);
  }
  // The generation since which each component has been as it is: the routers, then the experts.
  static std::vector<uint64_t> Since(const AdapterInfo& info) {
    std::vector<uint64_t> since;
    for (const ComponentInfo& component : info.components) since.push_back(component.generation);
    return since;
  }
  void ExpectHeld(const AdapterStore& store, uint64_t device, uint64_t host) {
    ExpectBytes(store, device);
    EXPECT_TRUE(Eventually([&] { return store.host_bytes_used() == host; })) << store.host_bytes_used();
  }

  uint64_t expert_ = 0, whole_ = 0, expert_host_ = 0, whole_host_ = 0;
};

TEST_F(MoaComponentsTest, ReplacingAnExpertUploadsThatAloneAndChargesTheRestOnce) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  ExpectHeld(*store, whole_, whole_host_);
  std::optional<AdapterHandle> old = Bound(*store, "a");
  const int uploads = backend_.calls();

  Put("mix", {{"poems", 1}, {"sums", 9}, {"jokes", 3}});
  const auto replaced = Load(*store, "a", "mix");
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(backend_.calls(), uploads + 1);
  EXPECT_EQ(replaced->device_bytes, whole_);
  EXPECT_THAT(Since(*replaced), ElementsAre(1, 1, 2, 1));
  ExpectHeld(*store, whole_ + expert_, whole_host_ + expert_host_);

  const AdapterHandle fresh = Bound(*store, "a");
  EXPECT_EQ(old->generation(), 1);
  EXPECT_EQ(fresh.generation(), 2);
  EXPECT_EQ(ContentOf(*old, "sums"), ContentOf(2)) << "a running request stays on the old one";
  EXPECT_EQ(ContentOf(fresh, "sums"), ContentOf(9));
  EXPECT_NE(old->weights(), fresh.weights()) << "they do not run as one";
  for (const char* expert : {"poems", "jokes"}) EXPECT_EQ(DeviceOf(*old, expert), DeviceOf(fresh, expert));
  old.reset();
  ExpectHeld(*store, whole_, whole_host_);
}

TEST_F(MoaComponentsTest, RequestsOfOneGenerationShareItsMixture) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  const AdapterHandle one = Bound(*store, "a"), two = Bound(*store, "a");
  EXPECT_EQ(one.weights(), two.weights());
}

TEST_F(MoaComponentsTest, NewRoutersLeaveTheExpertsWhereTheyAre) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  const AdapterHandle old = Bound(*store, "a");
  const int uploads = backend_.calls();
  Put("mix", three_, 77);
  const auto replaced = Load(*store, "a", "mix");
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(backend_.calls(), uploads + 3) << "a row of each expert";
  EXPECT_THAT(Since(*replaced), ElementsAre(2, 1, 1, 1));
  ExpectBytes(*store, whole_ + 3 * kRow);
}

TEST_F(MoaComponentsTest, ExpertsAreAddedAndRemoved) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  int uploads = backend_.calls();
  Put("mix", {{"sums", 2}, {"poems", 1}, {"jokes", 3}, {"verse", 4}});
  const auto grown = Load(*store, "a", "mix");
  ASSERT_TRUE(grown.ok()) << grown.status();
  EXPECT_EQ(backend_.calls(), uploads + 1 + 4) << "the new one and the routers' rows";
  EXPECT_THAT(grown->expert_names, ElementsAre("sums", "poems", "jokes", "verse")) << "in another order";
  EXPECT_THAT(Since(*grown), ElementsAre(2, 1, 1, 1, 2));
  ExpectBytes(*store, 4 * (expert_ + kRow));
  {
    const AdapterHandle handle = Bound(*store, "a");
    EXPECT_EQ(ContentOf(handle, "sums"), ContentOf(2));
    EXPECT_EQ(ContentOf(handle, "poems"), ContentOf(1));
    EXPECT_EQ(ContentOf(handle, "verse"), ContentOf(4));
  }
  uploads = backend_.calls();
  Put("mix", {{"jokes", 3}});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  EXPECT_EQ(backend_.calls(), uploads + 1) << "a row";
  ExpectBytes(*store, expert_ + kRow);
  ASSERT_TRUE(Unload(*store, "a").ok());
  ExpectHeld(*store, 0, 0);
}

TEST_F(MoaComponentsTest, AnExpertIsTheSameUnderAnotherNameAndInADirectoryOfItsOwn) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  const int uploads = backend_.calls();
  Put("mix", {{"poems", 1}, {"arithmetic", 2}, {"jokes", 3}});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  EXPECT_EQ(backend_.calls(), uploads + 3) << "the routers know the names";

  AdapterFiles apart = PlainLora();
  apart.config["lora_alpha"] = 6;
  apart.tensors.clear();
  AdapterFiles rest = MoaOf({{"poems", 1}, {"arithmetic", 2}, {"jokes", 3}});
  const std::string mark = ".arithmetic.";
  for (auto at = rest.tensors.begin(); at != rest.tensors.end();) {
    const size_t place = at->first.find(mark);
    if (place == std::string::npos) {
      ++at;
      continue;
    }
    std::string name = at->first;
    apart.tensors[name.replace(place, mark.size(), ".")] = at->second;
    at = rest.tensors.erase(at);
  }
  rest.config["expert_paths"] = {{"arithmetic", "apart"}};
  disk_.Put("apart", apart.Bytes());
  disk_.Put("mix2", rest.Bytes());
  const auto moved = Load(*store, "a", "mix2");
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(backend_.calls(), uploads + 3) << "nothing is new";
  EXPECT_EQ(moved->generation, 3);
  ExpectBytes(*store, whole_);
}

TEST_F(MoaComponentsTest, AReplaceNeedsRoomForWhatIsNewAlone) {
  const auto store = MakeStore({.device_bytes = whole_});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  const int uploads = backend_.calls();
  Put("mix", {{"poems", 1}, {"sums", 9}, {"jokes", 3}});
  const auto replaced = Load(*store, "a", "mix");
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(replaced->tier, Tier::kDevice) << "the old expert has made room: nobody used it";
  EXPECT_EQ(backend_.calls(), uploads + 1);
  ExpectBytes(*store, whole_);
}

TEST_F(MoaComponentsTest, WhatWasThrownOutComesBackComponentByComponent) {
  const auto store = MakeStore({.device_bytes = whole_, .host_bytes = 20 * whole_host_});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  disk_.Put("other", MoaOf({{"x", 11}, {"y", 12}, {"z", 13}}).Bytes());
  ASSERT_TRUE(Load(*store, "b", "other").ok());
  EXPECT_EQ(store->Get("a")->tier, Tier::kHost);
  disk_.FailCall(0);  // counts from here
  EXPECT_EQ(ContentOf(Bound(*store, "a"), "jokes"), ContentOf(3));
  EXPECT_EQ(ContentOf(Bound(*store, "b"), "z"), ContentOf(13));
  EXPECT_EQ(disk_.calls(), 0);
  ExpectBytes(*store, whole_);
}

// Room in host memory for reading one of them: the other one is on disk.
TEST_F(MoaComponentsTest, AnExpertThatHasChangedOnDiskIsNeverServed) {
  for (const bool changed : {false, true}) {
    disk_.Put("mix", MoaOf(three_).Bytes());
    disk_.Put("other", MoaOf({{"x", 11}, {"y", 12}, {"z", 13}}).Bytes());
    const uint64_t host = MoaOf(three_).Bytes().at("adapter_model.safetensors").size() + whole_host_;
    const auto store = MakeStore({.device_bytes = whole_, .host_bytes = host});
    ASSERT_TRUE(Load(*store, "a", "mix").ok());
    ASSERT_TRUE(Load(*store, "b", "other").ok());
    ASSERT_EQ(store->Get("a")->tier, Tier::kDisk);
    // Neighbours of what serves may change: it is read again tensor by tensor.
    Put("mix", {{"poems", 1}, {"sums", 2}, {"jokes", changed ? 9u : 3u}, {"verse", 4}});
    AdapterFiles files = MoaOf({{"poems", 1}, {"sums", 2}, {"jokes", changed ? 9u : 3u}});
    disk_.Put("mix", files.Bytes());
    if (!changed) {
      EXPECT_EQ(ContentOf(Bound(*store, "a"), "jokes"), ContentOf(3));
      continue;
    }
    const absl::Status refused = Refused(*store, "a");
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("mix: expert 'jokes' has the digest sha256:"));
    EXPECT_EQ(store->Get("a")->state, AdapterState::kFailed);
    EXPECT_EQ(Bound(*store, "b").generation(), 2);
    ExpectBytes(*store, whole_);
  }
}

TEST_F(MoaComponentsTest, AReplaceSurvivesEveryFailureOfTheDiskAndTheDevice) {
  const auto store = MakeStore();
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  Put("mix", {{"poems", 8}, {"sums", 9}, {"jokes", 3}}, 5);
  int failures = 0;
  for (const bool disk : {true, false}) {
    for (int n = 1; n < 100; ++n) {
      disk_.FailCall(disk ? n : 0);
      backend_.FailLoad(disk ? 0 : backend_.calls() + n);
      if (Load(*store, "a", "mix").ok()) break;
      ++failures;
      const AdapterHandle handle = Bound(*store, "a");
      EXPECT_EQ(ContentOf(handle, "poems"), ContentOf(disk ? 1 : 8));
      ExpectHeld(*store, whole_, whole_host_);
    }
    Put("mix", {{"poems", 6}, {"sums", 7}, {"jokes", 3}}, 6);
  }
  EXPECT_GT(failures, 10);
}

TEST_F(MoaComponentsTest, ComponentsSurviveARestart) {
  FakeLogDirectory log;
  auto store = OpenStore(log);
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  Put("mix", {{"poems", 1}, {"sums", 9}, {"jokes", 3}});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  store.reset();
  store = OpenStore(log);
  EXPECT_EQ(store->Get("a")->tier, Tier::kDisk);
  EXPECT_THAT(Since(*store->Get("a")), ElementsAre(1, 1, 2, 1));
  const AdapterHandle handle = Bound(*store, "a");
  EXPECT_EQ(handle.generation(), 2);
  EXPECT_EQ(ContentOf(handle, "sums"), ContentOf(9));
  EXPECT_EQ(handle.mixture()->router().choices(), 3);
  ExpectHeld(*store, whole_, whole_host_);
  const int uploads = backend_.calls();
  Put("mix", {{"poems", 1}, {"sums", 10}, {"jokes", 3}});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  EXPECT_EQ(backend_.calls(), uploads + 1) << "what was restored is shared too";
}

TEST_F(MoaComponentsTest, APinHoldsEveryComponent) {
  const auto store = MakeStore({.device_bytes = whole_ + expert_});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  Pending pin;
  store->Pin("a", true, pin.done());
  ASSERT_TRUE(pin.Wait().ok());
  Put("mix", {{"poems", 1}, {"sums", 9}, {"jokes", 3}});
  ASSERT_TRUE(Load(*store, "a", "mix").ok());
  ASSERT_TRUE(Load(*store, "b", "one").ok());
  EXPECT_EQ(store->Get("a")->tier, Tier::kDevice);
  EXPECT_TRUE(store->Get("a")->pinned);
}

}  // namespace
}  // namespace hydrad
