// Requests of adapters that bring tokens, when they are bound to a generation.
#include "server/scheduler/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/scheduler/fit_to_model.h"
#include "tests/fakes/fake_claim.h"
#include "tests/fakes/fake_form.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

constexpr int kBase = 10;

// Of `vocab` tokens; 0: those of the base.
struct Device final : DeviceAdapter {
  explicit Device(int v) : tokens(v) {}
  size_t bytes() const override { return 1; }
  int vocab() const override { return tokens; }
  int tokens;
};

// A request of a prompt that was read when the adapter had `read` tokens, and runs where it has `runs`.
Request Bound(std::vector<int32_t> prompt, int read, int runs) {
  Request request;
  request.prompt = std::move(prompt);
  if (read > 0) {
    auto tokens = std::make_shared<AdapterTokens>();
    tokens->vocab = read;
    tokens->base_vocab = kBase;
    request.tokens = std::move(tokens);
  }
  auto generation = std::make_shared<AdapterGeneration>();
  generation->name = "own";
  generation->device = std::make_shared<Device>(runs);
  request.adapter = HandleOn(generation);
  EXPECT_TRUE(request.BindAdapters());
  return request;
}

TEST(CheckAdapterUse, TokensOfTheGenerationThatRuns) {
  EXPECT_TRUE(CheckAdapterUse(Bound({3, 11}, 12, 12)).ok());
  EXPECT_TRUE(CheckAdapterUse(Bound({3, 9}, 12, 0)).ok()) << "the prompt has none of those that went";
  EXPECT_TRUE(CheckAdapterUse(Bound({3, 9}, 0, 12)).ok());
  for (const int runs : {0, 11}) {
    const absl::Status status = CheckAdapterUse(Bound({3, 11}, 12, runs));
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("adapter 'own' has been replaced meanwhile, and does not have token 11 any more"));
  }
}

TEST(CheckAdapterUse, AFormKnowsTheBasesTokensOnly) {
  for (const int runs : {0, 12}) {
    Request request = Bound({3}, 0, runs);
    request.form = std::make_shared<FakeForm>(1);
    EXPECT_EQ(CheckAdapterUse(request).ok(), runs == 0) << CheckAdapterUse(request);
  }
}

TEST(FitToModel, IdsThatTheAdapterBrings) {
  const ModelLimits limits{.max_context = 64, .block_size = 16, .kv_blocks = 4};
  for (const int32_t token : {9, 10, 11, 12}) {
    Request own = Bound({token}, 12, 12), other = Bound({token}, 0, 12);
    EXPECT_EQ(FitToModel(kBase, limits, &own).ok(), token < 12) << token;
    EXPECT_EQ(FitToModel(kBase, limits, &other).ok(), token < kBase) << token;
  }
}

}  // namespace
}  // namespace hydrad
