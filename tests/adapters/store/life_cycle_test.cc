// Random histories of everything that can happen to adapters, on a disk, a device, a journal and threads that
// the test plays. Whatever the order: a request sees one generation and that generation's weights, no byte is
// held without being charged or kept for ever, every call is answered, no request waits for ever, and what
// was answered is in the journal. Fixed seeds.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "server/adapters/formats/host_bytes.h"
#include "server/adapters/store/journal.h"
#include "server/base/log.h"
#include "tests/adapters/store/store_fixture.h"
#include "tests/fakes/fake_log_directory.h"
#include "tests/fakes/manual_executor.h"

namespace hydrad {
namespace {

constexpr int kNames = 4, kVariants = 3;

class LifeCycleTest : public StoreFixture {
 protected:
  // A request: it waits, then holds a generation, until it goes.
  struct Held {
    AdapterHandle handle;
    uint64_t generation = 0;
    const void* weights = nullptr;
  };
  // What was answered last about a name.
  struct Answered {
    std::optional<AdapterInfo> info;  // none: there is no such adapter
    int open = 0;                     // changes that are not answered yet: either is right
  };

  LifeCycleTest() {
    Log()->set_level(spdlog::level::off);
    for (int i = 0; i < kVariants; ++i) {
      disk_.Put("scratch", PlainLora(100 + i).Bytes());
      const AdapterContents contents = *ReadAdapter(disk_, "scratch", TinyModel().adapter_shape(), 1 << 20);
      content_of_[contents.digest] = FakeBackend::ContentOf(contents.weights);
    }
    // The experts of an MoA come and go one by one.
    for (int i = 0; i < kVariants * kVariants * kVariants; ++i) {
      disk_.Put("scratch", MoaFiles(i));
      const AdapterContents contents = *ReadAdapter(disk_, "scratch", TinyModel().adapter_shape(), 1 << 20);
      std::vector<uint64_t>& experts = experts_of_[contents.digest];
      for (const ExpertWeights& expert : contents.experts_by_name)
        experts.push_back(FakeBackend::ContentOf(expert.weights));
      moa_bytes_ = std::max<size_t>(moa_bytes_, *HostBytesToRead(disk_, "scratch", 1 << 20));
    }
    disk_.SetChunk(700);
  }
  ~LifeCycleTest() override { Log()->set_level(spdlog::level::info); }

  int Draw(int n) { return static_cast<int>(random_() % n); }
  std::string AnyName() { return std::string(1, static_cast<char>('a' + Draw(kNames))); }
  void PutFiles(const std::string& path) {
    if (path == "m") return disk_.Put(path, MoaFiles(Draw(kVariants * kVariants * kVariants)));
    disk_.Put(path, PlainLora(100 + Draw(kVariants)).Bytes());
  }
  // Two experts or three, each of one variant or another.
  static FakeDisk::Files MoaFiles(int variant) {
    std::vector<std::pair<std::string, uint32_t>> experts = {{"x", 1 + variant % kVariants},
                                                             {"y", 1 + variant / kVariants % kVariants}};
    const int third = variant / kVariants / kVariants;
    if (third > 0) experts.emplace_back("z", 1 + third);
    return MoaOf(experts).Bytes();
  }
  bool IsOf(const AdapterHandle& handle, const std::string& digest) const;

  void Begin(uint32_t seed);
  void OpenStore();
  void Step();
  void Change();
  void Request();
  void Break();
  void RunJob() { ManualExecutor::Run(*jobs_, random_() % jobs_->size()); }
  void RunAll() {
    while (!jobs_->empty()) RunJob();
  }
  AdapterStore::Done Note(const std::string& name);
  void TryToBind(Held& held);
  void Check();
  void CheckJournal();
  void Settle();
  void End();

  std::mt19937 random_;
  std::map<std::string, uint64_t> content_of_;               // by digest
  std::map<std::string, std::vector<uint64_t>> experts_of_;  // likewise
  size_t moa_bytes_ = 0;                                     // the most that reading one takes
  std::map<uint64_t, std::string> digest_of_;                // by generation
  std::map<std::string, Answered> answered_;                 // by name
  std::vector<Held> held_;
  std::shared_ptr<ManualExecutor::Jobs> jobs_;
  FakeLogDirectory log_;
  AdapterStoreOptions options_;
  std::unique_ptr<AdapterStore> store_;
  bool moas_ = false;
  int asked_ = 0, told_ = 0, depth_ = 0, bound_ = 0, mixtures_ = 0;
};

void LifeCycleTest::Begin(uint32_t seed) {
  random_.seed(seed);
  digest_of_.clear();
  answered_.clear();
  asked_ = told_ = 0;
  log_ = FakeLogDirectory();
  for (const char* path : {"p", "q", "m"}) PutFiles(path);
  moas_ = Draw(2) == 0;  // the rest is about adapters of one component, with less room
  const int room = moas_ ? 2 + Draw(4) : 1 + Draw(3);
  options_.device_bytes = room * bytes_;
  options_.host_bytes = moas_ ? moa_bytes_ + Draw(4) * host_bytes_ : (1 + Draw(3)) * host_bytes_;
  options_.fetch_threads = 1 + Draw(2);
  OpenStore();
  // Everything else goes on while a disk works.
  disk_.OnCall([this] {
    if (depth_ < 2 && store_ != nullptr && Draw(12) == 0) Step();
  });
}

void LifeCycleTest::OpenStore() {
  jobs_ = std::make_shared<ManualExecutor::Jobs>();
  AdapterStore::Parts parts;
  parts.disk = std::make_unique<FakeDisk>(disk_);
  parts.loads = std::make_unique<ManualExecutor>(jobs_);
  parts.fetches = std::make_unique<ManualExecutor>(jobs_);
  parts.journal = *Journal::Open(std::make_unique<FakeLogDirectory>(log_));
  store_ = std::make_unique<AdapterStore>(options_, backend_, TinyModel(), clock_, std::move(parts));
  store_->AddWatcher([this](const AdapterEvent& event) {
    if (event.info.state == AdapterState::kAvailable) digest_of_[event.info.generation] = event.info.digest;
  });
  for (const AdapterInfo& info : store_->List()) digest_of_[info.generation] = info.digest;
}

AdapterStore::Done LifeCycleTest::Note(const std::string& name) {
  ++asked_;
  ++answered_[name].open;
  return [this, name](const absl::StatusOr<AdapterInfo>& info) {
    ++told_;
    Answered& answered = answered_[name];
    --answered.open;
    if (!info.ok()) {
      EXPECT_NE(info.status().code(), absl::StatusCode::kUnknown);
      return;
    }
    answered.info = info->state == AdapterState::kUnloaded ? std::nullopt : std::optional(*info);
  };
}

void LifeCycleTest::Step() {
  ++depth_;
  const int kind = Draw(20);
  if (kind < 3) {
    Change();
  } else if (kind < 9) {
    Request();
  } else if (kind < 10) {
    Break();
  } else if (!jobs_->empty() && depth_ < 3) {
    RunJob();
  }
  Check();
  --depth_;
}

void LifeCycleTest::Change() {
  const std::string name = AnyName(), path = moas_ && Draw(3) > 0 ? "m" : Draw(2) ? "p" : "q";
  switch (Draw(8)) {
    case 0:
      return store_->Unload(name, Note(name), {.force = Draw(2) == 0});
    case 1:
      return store_->Pin(name, Draw(2) == 0, Note(name));
    case 2:
      ++asked_;
      return store_->ValidateOnly(name, path, [this](const auto&) { ++told_; });
    case 3:
      return store_->Load(name, "bad", Note(name));
    case 4:
      return PutFiles(path);
    default:
      return store_->Load(name, path, Note(name));
  }
}

void LifeCycleTest::TryToBind(Held& held) {
  if (held.generation != 0 || !held.handle.status().ok() || !held.handle.Bind()) return;
  ++bound_;
  mixtures_ += held.handle.mixture() != nullptr;
  held.generation = held.handle.generation();
  held.weights = held.handle.weights();
}

void LifeCycleTest::Request() {
  if (held_.size() < 6 && Draw(3) == 0) {
    absl::StatusOr<AdapterHandle> handle = store_->Acquire(AnyName());
    if (handle.ok()) held_.push_back({*std::move(handle)});
  } else if (!held_.empty() && Draw(2) == 0) {
    TryToBind(held_[random_() % held_.size()]);
  } else if (!held_.empty()) {  // it ends, or is cancelled
    std::swap(held_[random_() % held_.size()], held_.back());
    held_.pop_back();
  }
  if (Draw(4) == 0) {
    std::vector<std::string> names;
    for (const Held& held : held_) {
      if (held.generation == 0) names.push_back(held.handle.name());
    }
    std::shuffle(names.begin(), names.end(), random_);
    store_->Want(names);
  }
}

void LifeCycleTest::Break() {
  switch (Draw(3)) {
    case 0:
      return disk_.FailCall(1 + Draw(10));
    case 1:
      return backend_.FailLoad(backend_.calls() + 1 + Draw(2));
    default:
      log_.state().recovers = true;
      log_.state().torn = random_() % 20;
      log_.state().fail_call = log_.state().calls + 1 + Draw(3);
  }
}

void LifeCycleTest::Check() {
  ASSERT_LE(store_->device_bytes_used(), options_.device_bytes);
  ASSERT_LE(store_->host_bytes_used(), options_.host_bytes);
  ASSERT_LE(backend_.live_bytes(), store_->device_bytes_used()) << "held without being charged";
  for (const Held& held : held_) {
    if (held.generation == 0) continue;
    ASSERT_EQ(held.handle.generation(), held.generation);
    ASSERT_EQ(held.handle.weights(), held.weights);
    ASSERT_TRUE(IsOf(held.handle, digest_of_[held.generation]))
        << "other weights than those of the generation";
  }
}

bool LifeCycleTest::IsOf(const AdapterHandle& handle, const std::string& digest) const {
  if (handle.mixture() == nullptr) {
    return backend_.IsLive(handle.device()) &&
           FakeBackend::ContentOf(*handle.device()) == content_of_.at(digest);
  }
  const std::vector<uint64_t>& experts = experts_of_.at(digest);
  if (handle.mixture()->experts().size() != experts.size()) return false;
  for (size_t e = 0; e < experts.size(); ++e) {
    const DeviceAdapter* device = handle.mixture()->experts()[e]->adapter.get();
    if (!backend_.IsLive(device) || FakeBackend::ContentOf(*device) != experts[e]) return false;
  }
  return true;
}

// What a process that was killed now would leave.
void LifeCycleTest::CheckJournal() {
  FakeLogDirectory left;
  left.state().files = log_.state().files;
  const auto journal = Journal::Open(std::make_unique<FakeLogDirectory>(left));
  ASSERT_TRUE(journal.ok()) << journal.status();
  const auto& there = (*journal)->opened().adapters;
  for (const auto& [name, answered] : answered_) {
    if (answered.open > 0) continue;
    const auto found = there.find(name);
    ASSERT_EQ(found != there.end(), answered.info.has_value()) << name;
    if (!answered.info) continue;
    ASSERT_EQ(found->second.generation, answered.info->generation) << name;
    ASSERT_EQ(found->second.digest, answered.info->digest) << name;
    ASSERT_EQ(found->second.pinned, answered.info->pinned) << name;
  }
}

// Nothing fails any more, and requests end when they have begun: all of them begin or hear why not.
void LifeCycleTest::Settle() {
  disk_.OnCall(nullptr);
  disk_.FailCall(0);
  backend_.FailLoad(0);
  log_.state().fail_call = 0;
  std::erase_if(held_, [](const Held& held) { return held.generation != 0; });
  RunAll();
  // Pinned adapters may leave no room for others, for ever: who waits for one of those is told so.
  for (int turn = 0; turn < 50 && !held_.empty(); ++turn) {
    std::vector<std::string> names;  // as the scheduler tells it
    for (const Held& held : held_) names.push_back(held.handle.name());
    store_->Want(names);
    RunAll();
    for (Held& held : held_) TryToBind(held);
    std::erase_if(held_, [](const Held& held) { return held.generation != 0 || !held.handle.status().ok(); });
  }
  std::string waiting;
  for (const Held& held : held_) {
    const auto info = store_->Get(held.handle.name());
    waiting += fmt::format("\n{}: {} {} blocked {} handles {} {}", held.handle.name(),
                           info.ok() ? Name(info->state) : "gone", info.ok() ? Name(info->tier) : "",
                           held.handle.blocked(), info.ok() ? info->handles : 0,
                           info.ok() ? std::string(info->error.message()) : "");
  }
  EXPECT_TRUE(held_.empty()) << "requests wait for ever:" << waiting << "\ncharged "
                             << store_->device_bytes_used() << ", held " << backend_.live_bytes() << " of "
                             << options_.device_bytes << " bytes of the device";
  held_.clear();
  RunAll();
  EXPECT_EQ(asked_, told_) << "calls that were never answered";
}

void LifeCycleTest::End() {
  for (const AdapterInfo& info : store_->List()) store_->Unload(info.name, Note(info.name));
  RunAll();
  EXPECT_TRUE(store_->List().empty());
  EXPECT_EQ(asked_, told_);
  EXPECT_EQ(store_->device_bytes_used(), 0u);
  EXPECT_EQ(store_->host_bytes_used(), 0u);
  EXPECT_EQ(backend_.live_bytes(), 0u);
  store_.reset();
}

TEST_F(LifeCycleTest, NothingIsMixedUpLostOrKept) {
  for (uint32_t seed = 1; seed <= 3000 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Begin(seed);
    for (int i = 0; i < (moas_ ? 200 : 80) && !HasFatalFailure(); ++i) Step();
    CheckJournal();
    Settle();
    CheckJournal();
    End();
  }
  EXPECT_GT(bound_, 1000);
  EXPECT_GT(mixtures_, 1000);
}

TEST_F(LifeCycleTest, ARestartFindsWhatWasAnswered) {
  for (uint32_t seed = 10'001; seed <= 10'500 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Begin(seed);
    for (int restart = 0; restart < 3 && !HasFatalFailure(); ++restart) {
      for (int i = 0; i < 40 && !HasFatalFailure(); ++i) Step();
      Settle();
      std::map<std::string, AdapterInfo> before;
      for (const auto& [name, answered] : answered_) {
        if (answered.info) before[name] = *answered.info;
      }
      store_.reset();
      EXPECT_EQ(backend_.live_bytes(), 0u);
      OpenStore();
      ASSERT_EQ(store_->List().size(), before.size());
      for (const AdapterInfo& info : store_->List()) {
        EXPECT_EQ(info.generation, before[info.name].generation);
        EXPECT_EQ(info.state, AdapterState::kAvailable);
        EXPECT_EQ(info.tier, Tier::kDisk);
      }
      disk_.OnCall([this] {
        if (depth_ < 2 && store_ != nullptr && Draw(12) == 0) Step();
      });
    }
    Settle();
    End();
  }
}

}  // namespace
}  // namespace hydrad
