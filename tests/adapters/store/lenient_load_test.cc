// Lenient loads in the store: told of, remembered, and read again as they were.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/store/apply.h"
#include "server/adapters/store/journal.h"
#include "tests/adapters/store/store_fixture.h"
#include "tests/fakes/fake_log_directory.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LenientLoadTest : public StoreFixture {
 protected:
  LenientLoadTest() {
    AdapterFiles half = PlainLora();
    half.config["base_model_name_or_path"] = "org/other-model";
    std::erase_if(half.tensors, [](const auto& t) { return t.first.find("layers.1.") != std::string::npos; });
    disk_.Put("half", half.Bytes());
    AdapterFiles more = Moa();
    more.config["target_modules"] = {"q_proj"};
    disk_.Put("more", more.Bytes());
  }
  std::unique_ptr<AdapterStore> Open(AdapterStoreOptions options = {}) { return OpenStore(log_, options); }

  FakeLogDirectory log_;
};

TEST_F(LenientLoadTest, SaysWhatItDidAndOutlivesARestart) {
  uint64_t generation = 0;
  {
    const auto store = Open();
    EXPECT_THAT(std::string(Load(*store, "a", "half").status().message()), HasSubstr("2 of the 4 modules"));
    for (const char* path : {"half", "more"}) {
      const auto info = Load(*store, path, path, {.lenient = true});
      ASSERT_TRUE(info.ok()) << info.status();
      EXPECT_TRUE(info->lenient);
      EXPECT_FALSE(info->warnings.empty());
      Bound(*store, path);
      generation = info->generation;
    }
  }
  const auto store = Open();
  for (const char* path : {"half", "more"}) {
    const auto info = store->Get(path);
    ASSERT_TRUE(info.ok());
    EXPECT_TRUE(info->lenient);
    EXPECT_THAT(info->warnings.front(), HasSubstr("target_modules"));
    const AdapterHandle handle = Bound(*store, path);  // read again, with the same rule
    EXPECT_LE(store->Get(path)->generation, generation);
  }
}

// What is thrown out comes back by the same rule.
TEST_F(LenientLoadTest, IsFetchedFromTheDiskAgain) {
  const auto store = MakeStore({.device_bytes = bytes_, .host_bytes = host_bytes_ + 1});
  ASSERT_TRUE(Load(*store, "half", "half", {.lenient = true}).ok());
  ASSERT_TRUE(Load(*store, "one", "one").ok());
  for (int i = 0; i < 3; ++i) {
    Bound(*store, "one");
    Bound(*store, "half");
  }
}

TEST_F(LenientLoadTest, AnotherBaseModelIsAWarning) {
  disk_.Put("plain", PlainLora().Bytes());
  const auto store = MakeStore({.base_names = {"/models/tiny", "org/Tiny-Model"}});
  EXPECT_THAT(Load(*store, "plain", "plain")->warnings, IsEmpty());
  AdapterFiles files = PlainLora();
  files.config["base_model_name_or_path"] = "other-org/tiny-model";
  disk_.Put("plain", files.Bytes());
  const auto again = MakeStore({.base_names = {"/models/tiny", "org/Tiny-Model"}});
  EXPECT_THAT(Load(*again, "plain", "plain")->warnings, IsEmpty());
  EXPECT_THAT(
      Load(*again, "half", "half", {.lenient = true})->warnings,
      ElementsAre(HasSubstr("target_modules"), HasSubstr("'org/other-model'; this is '/models/tiny'")));
}

TEST_F(LenientLoadTest, ApplyLoadsAgainWhatMayNoLongerBeLenient) {
  using Action = AppliedChange::Action;
  AdapterInfo info;
  info.name = "a";
  info.path = "p";
  info.state = AdapterState::kAvailable;
  const auto action = [&](bool loaded, bool wanted) {
    info.lenient = loaded;
    return PlanApply({{.name = "a", .path = "p", .lenient = wanted}}, {info}).front().action;
  };
  EXPECT_EQ(action(true, false), Action::kReplace);
  EXPECT_EQ(action(true, true), Action::kUnchanged);
  EXPECT_EQ(action(false, true), Action::kUnchanged);
  EXPECT_EQ(action(false, false), Action::kUnchanged);

  const auto store = MakeStore();
  std::promise<absl::Status> strict, lenient;
  AdapterApplier applier(*store);
  applier.Apply({{.name = "a", .path = "half"}}, {},
                [&](const auto& done) { strict.set_value(done.status()); });
  EXPECT_THAT(std::string(strict.get_future().get().message()), HasSubstr("target_modules"));
  applier.Apply({{.name = "a", .path = "half", .lenient = true}}, {},
                [&](const auto& done) { lenient.set_value(done.status()); });
  const absl::Status applied = lenient.get_future().get();
  EXPECT_TRUE(applied.ok()) << applied;
  EXPECT_TRUE(store->Get("a")->lenient);
}

}  // namespace
}  // namespace hydrad
