#include "server/scheduler/fit_to_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::HasSubstr;

constexpr ModelLimits kLimits{.max_context = 32, .block_size = 4, .kv_blocks = 6};  // the cache: 24 tokens
constexpr int kVocab = 100;

Request Make(size_t prompt, int max_tokens) {
  Request request;
  request.prompt.assign(prompt, 1);
  request.stopping.max_tokens = max_tokens;
  return request;
}

std::string Refusal(Request request, const ModelLimits& limits = kLimits) {
  const absl::Status status = FitToModel(kVocab, limits, &request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(FitToModel, RefusesWhatCanNeverRun) {
  EXPECT_THAT(Refusal(Make(0, 1)), HasSubstr("no tokens"));
  EXPECT_THAT(Refusal(Make(4, 0)), HasSubstr("max_tokens is 0"));
  EXPECT_THAT(Refusal(Make(32, 1)), HasSubstr("leave room"));
  Request none = Make(4, 1);
  none.n = 0;
  EXPECT_THAT(Refusal(std::move(none)), HasSubstr("n is 0"));
}

TEST(FitToModel, RefusesTokensOutsideTheVocabulary) {
  for (const int32_t token : {-1, kVocab}) {
    Request request = Make(4, 1);
    request.prompt[2] = token;
    EXPECT_THAT(Refusal(std::move(request)), HasSubstr("outside the vocabulary"));
  }
}

TEST(FitToModel, TheLongestSequenceMustFitIntoTheCache) {
  Request fits = Make(20, 5);  // 24 positions: the last token is not run
  EXPECT_TRUE(FitToModel(kVocab, kLimits, &fits).ok());
  EXPECT_THAT(Refusal(Make(20, 6)), HasSubstr("7 blocks"));
}

TEST(FitToModel, CutsMaxTokensToTheContext) {
  const ModelLimits roomy{.max_context = 32, .block_size = 4, .kv_blocks = 8};
  Request request = Make(31, 1000);
  request.stopping.min_tokens = 50;
  ASSERT_TRUE(FitToModel(kVocab, roomy, &request).ok());
  EXPECT_EQ(request.stopping.max_tokens, 1);
  EXPECT_EQ(request.stopping.min_tokens, 1);
}

TEST(FitToModel, LeavesWhatFitsAlone) {
  Request request = Make(3, 4);
  request.stopping.min_tokens = 2;
  ASSERT_TRUE(FitToModel(kVocab, kLimits, &request).ok());
  EXPECT_EQ(request.stopping.max_tokens, 4);
  EXPECT_EQ(request.stopping.min_tokens, 2);
}

}  // namespace
}  // namespace hydrad
