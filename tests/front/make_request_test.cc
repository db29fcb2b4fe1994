#include "server/front/make_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::ElementsAre;

TEST(MakeRequestTest, UnsetFieldsTakeTheDefaults) {
  const SamplingParams defaults;
  const SamplingParams sampling = ParamsOf({});
  EXPECT_EQ(sampling.temperature, defaults.temperature);
  EXPECT_EQ(sampling.top_p, defaults.top_p);
  EXPECT_EQ(sampling.top_k, defaults.top_k);
  EXPECT_EQ(sampling.min_p, defaults.min_p);
  EXPECT_EQ(sampling.repetition_penalty, defaults.repetition_penalty);
  EXPECT_TRUE(sampling.logit_bias.empty());
  const OutputOptions output = OptionsOf({});
  EXPECT_EQ(output.top_logprobs, -1);
  EXPECT_EQ(output.prompt_logprobs, -1);
  EXPECT_TRUE(output.skip_special_tokens);
  const Stopping stopping = StoppingOf({});
  EXPECT_EQ(stopping.max_tokens, kDefaultMaxTokens);
  EXPECT_EQ(stopping.min_tokens, 0);
  EXPECT_FALSE(stopping.ignore_eos);
}

TEST(MakeRequestTest, SetFieldsArriveWhereTheyBelong) {
  const SamplingParams s = ParamsOf({.temperature = 0,
                                     .top_p = 0.5f,
                                     .top_k = 7,
                                     .min_p = 0.25f,
                                     .repetition_penalty = 1.5f,
                                     .presence_penalty = -1,
                                     .frequency_penalty = 2,
                                     .logit_bias = {{3, -4}},
                                     .seed = 1,
                                     .n = 1});
  EXPECT_EQ(s.temperature, 0);
  EXPECT_EQ(s.top_p, 0.5f);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_EQ(s.min_p, 0.25f);
  EXPECT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_EQ(s.presence_penalty, -1);
  EXPECT_EQ(s.frequency_penalty, 2);
  ASSERT_EQ(s.logit_bias.size(), 1u);
  EXPECT_EQ(s.logit_bias[0].token, 3);
  EXPECT_EQ(s.logit_bias[0].bias, -4);
  OutputFields output;
  output.logprobs = 0;
  output.prompt_logprobs = 5;
  output.keep_special_tokens = true;
  const OutputOptions o = OptionsOf(output);
  EXPECT_EQ(o.top_logprobs, 0);
  EXPECT_EQ(o.prompt_logprobs, 5);
  EXPECT_FALSE(o.skip_special_tokens);
  StoppingFields stopping;
  stopping.max_tokens = 8;
  stopping.min_tokens = 2;
  stopping.stop = {"a", "b"};
  stopping.stop_token_ids = {9};
  stopping.ignore_eos = true;
  const Stopping t = StoppingOf(stopping);
  EXPECT_EQ(t.max_tokens, 8);
  EXPECT_EQ(t.min_tokens, 2);
  EXPECT_THAT(t.stop, ElementsAre("a", "b"));
  EXPECT_THAT(t.stop_ids, ElementsAre(9));
  EXPECT_TRUE(t.ignore_eos);
}

}  // namespace
}  // namespace hydrad
