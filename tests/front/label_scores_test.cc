// Labels that are scored: which tokens they are behind a prompt, and that a request is made to say them.
#include "server/front/label_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/front/error_details.h"
#include "server/front/validate.h"
#include "tests/fakes/test_tokenizer.h"
#include "tests/front/front_fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

std::string FieldIn(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  return details.violations.empty() ? "" : details.violations[0].field;
}

TEST(LabelTokensTest, TokensThatReadAsTheLabelBehindThePrompt) {
  const auto tokenizer = MakeTestTokenizer();
  const auto tokens = LabelTokens(*tokenizer, std::vector{token::kA}, {"b", "bc d", "<|end|>."}, nullptr);
  EXPECT_FALSE(tokens.ok()) << "the test's vocabulary has no '<'";
  EXPECT_EQ(FieldIn(tokens.status()), "labels[2]");
  EXPECT_THAT(*LabelTokens(*tokenizer, std::vector{token::kA}, {"b", "bc d"}, nullptr),
              ElementsAre(ElementsAre(token::kB), ElementsAre(token::kBc, token::kSpace, token::kD)))
      << "the prompt's tokens stay, though 'ab' would be one";
}

// Words begin with their space, and a text that begins with a word is given one.
TEST(LabelTokensTest, WhereATextAloneGetsASpaceTheWholeTextTells) {
  const auto loaded = Tokenizer::FromJson(R"({
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "added_tokens": [],
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
      "vocab": {"▁": 0, "y": 1, "▁y": 2, "x": 3, "▁x": 4}, "merges": ["▁ y", "▁ x"]}})");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = **loaded;
  const auto tokens_behind = [&](const std::string& prompt, const std::string& label) {
    return LabelTokens(tokenizer, tokenizer.Encode(prompt, true, false), {label}, [&](std::string_view text) {
      return tokenizer.Encode(prompt + std::string(text), true, false);
    });
  };
  EXPECT_THAT(*tokens_behind("x", " y"), ElementsAre(ElementsAre(2)));
  EXPECT_THAT(*tokens_behind("x", "y"), ElementsAre(ElementsAre(1)));
  const auto merged = tokens_behind("x ", "y");
  EXPECT_EQ(FieldIn(merged.status()), "labels[0]") << "the prompt ends in a space that is the label's";
}

std::vector<int32_t> Allowed(const AnswerMatcher& matcher) {
  std::vector<int32_t> tokens;
  const std::span<const uint32_t> mask = *matcher.Mask();
  for (int32_t t = 0; t < static_cast<int32_t>(mask.size() * 32); ++t) {
    if ((mask[static_cast<size_t>(t) / 32] >> (t % 32) & 1) != 0) tokens.push_back(t);
  }
  return tokens;
}

TEST(SayLabelsTest, EachChoiceSaysOneAndEnds) {
  Request request;
  request.prompt = {0, 1};
  ASSERT_TRUE(SayLabels({{0, 40}, {2}}, /*vocab_size=*/64, /*max_context=*/4, &request).ok());
  EXPECT_EQ(request.n, 2);
  EXPECT_EQ(request.stopping.max_tokens, 2);
  EXPECT_THAT(request.stopping.stop_ids, ElementsAre(1)) << "the first that no label holds";
  EXPECT_EQ(request.output.top_logprobs, 0);
  const auto first = request.form->Start(0), second = request.form->Start(1);
  EXPECT_THAT(Allowed(*first), ElementsAre(0));
  first->Accept(0);
  EXPECT_THAT(Allowed(*first), ElementsAre(40));
  EXPECT_THAT(Allowed(*second), ElementsAre(2));
  second->Accept(2);
  EXPECT_THAT(Allowed(*second), ElementsAre(1));
}

TEST(SayLabelsTest, WhatDoesNotFitIsRefused) {
  Request request;
  request.prompt = {0, 1};
  EXPECT_EQ(FieldIn(SayLabels({{0}, {1, 2, 3}}, 64, 4, &request)), "labels[1]");
  EXPECT_EQ(FieldIn(SayLabels({{0, 1}, {2}}, 3, 4, &request)), "labels") << "no token is left to end with";
}

TEST(LabelsTest, AreBounded) {
  const auto field = [](std::vector<std::string> labels) {
    GenerateCall call;
    call.prompt = "x";
    call.labels = std::move(labels);
    return FieldIn(Validate(call, {.vocab_size = 100, .max_context = 64}));
  };
  EXPECT_EQ(field({"a", std::string(1024, 'a')}), "");
  EXPECT_EQ(field({"a", ""}), "labels[1]");
  EXPECT_EQ(field({"a", "b", "a"}), "labels[2]");
  EXPECT_EQ(field({std::string(1025, 'a')}), "labels[0]");
  EXPECT_EQ(field({"\xff"}), "labels[0]");
  EXPECT_EQ(field(std::vector<std::string>(65, "a")), "labels");
}

class LabelCallTest : public FrontFixture {
 protected:
  OrRefusal<Prepared> Make(decltype(GenerateCall::prompt) prompt, std::vector<std::string> labels) {
    GenerateCall call;
    call.prompt = std::move(prompt);
    call.labels = std::move(labels);
    EXPECT_EQ(TakesLong(call), !call.labels.empty());
    EnteredCall entered;
    entered.asker.tenant = "globex";
    return MakeRequest(intake_->rooms(), std::move(call), entered);
  }
};

TEST_F(LabelCallTest, ARequestThatSaysThem) {
  const ChatPrompt chat{.messages = {{.role = "user", .content = "x"}}};
  for (const decltype(GenerateCall::prompt)& prompt :
       {decltype(GenerateCall::prompt)("Is it so?"),
        decltype(GenerateCall::prompt)(std::vector<int32_t>{5, 6}), decltype(GenerateCall::prompt)(chat)}) {
    OrRefusal<Prepared> made = Make(prompt, {" yes", " no, it is not"});
    ASSERT_TRUE(made.ok()) << made.refusal().status;
    EXPECT_EQ((*made).request.n, 2);
    EXPECT_EQ((*made).head.choices, 2);
    EXPECT_THAT((*made).head.label_tokens, SizeIs(2));
    EXPECT_NE((*made).request.form, nullptr);
    EXPECT_FALSE((*made).head.answer);
  }
  EXPECT_THAT((*Make("Is it so?", {})).head.label_tokens, IsEmpty());
  EXPECT_EQ(Make("x", {std::string(1000, '.')}).refusal().metric, "invalid");
}

}  // namespace
}  // namespace hydrad
