// Structured output with xgrammar's own library, which deploy/get-grammar fetches.
#include "server/text/grammar_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace hydrad {
namespace {

using Kind = AnswerForm::Kind;
using std::chrono::minutes;
using ::testing::HasSubstr;

constexpr int32_t kEnd = 0;  // of the tiny model

class GrammarServiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { tokenizer_ = *Tokenizer::Load("deploy/models/tiny/tokenizer.json"); }
  void SetUp() override { Open(DefaultGrammarOptions()); }

  void Open(const GrammarOptions& options) {
    auto service = GrammarService::Open(options, *tokenizer_, vocab_size(), std::vector<int32_t>{kEnd});
    ASSERT_TRUE(service.ok()) << service.status() << " (deploy/get-grammar fetches the library)";
    service_ = *std::move(service);
  }
  static int vocab_size() { return tokenizer_->vocab_size() + 5; }  // as of a model with padded rows
  std::shared_ptr<AnswerGrammar> Compile(const AnswerForm& form) {
    auto grammar = service_->Compile("tenant", form);
    EXPECT_TRUE(grammar.ok()) << grammar.status();
    return grammar.ok() ? *grammar : nullptr;
  }
  absl::Status Refusal(Kind kind, const std::string& text) {
    return service_->Compile("tenant", {.kind = kind, .text = text, .choices = {}}).status();
  }
  static absl::StatusOr<std::span<const uint32_t>> MaskOf(AnswerMatcher& matcher) {
    EXPECT_TRUE(matcher.Ready(SteadyClock().Now() + minutes(5)));
    return matcher.Mask();
  }
  static std::vector<int32_t> Allowed(std::span<const uint32_t> mask) {
    std::vector<int32_t> tokens;
    for (int32_t t = 0; t < static_cast<int32_t>(mask.size() * 32); ++t) {
      if (mask[static_cast<size_t>(t) / 32] >> (t % 32) & 1) tokens.push_back(t);
    }
    return tokens;
  }
  // An answer of tokens drawn at random, an end where there may be one; nullopt if it has none by `steps`.
  static std::optional<std::string> Walk(AnswerGrammar& grammar, std::mt19937& random, int steps) {
    const auto matcher = grammar.Start(0);
    std::string text;
    for (int i = 0; i < steps; ++i) {
      const auto mask = MaskOf(*matcher);
      EXPECT_TRUE(mask.ok()) << mask.status() << " after " << text;
      if (!mask.ok()) return std::nullopt;
      const std::vector<int32_t> tokens = Allowed(*mask);
      EXPECT_FALSE(tokens.empty());
      if (tokens.front() == kEnd) return text;
      const int32_t token = tokens[random() % tokens.size()];
      EXPECT_LT(token, tokenizer_->vocab_size());
      EXPECT_FALSE(tokenizer_->IsSpecial(token));
      text += tokenizer_->TokenBytes(token);
      matcher->Accept(token);
    }
    return std::nullopt;
  }
  // Of answers that are drawn until enough of them have ended.
  std::set<std::string> Answers(const AnswerForm& form) {
    std::set<std::string> answers;
    const auto grammar = Compile(form);
    std::mt19937 random(3);
    for (int i = 0; grammar != nullptr && i < 60; ++i) {
      if (auto text = Walk(*grammar, random, 60)) answers.insert(*text);
    }
    EXPECT_FALSE(answers.empty());
    return answers;
  }

  static std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<GrammarService> service_;
};
std::unique_ptr<const Tokenizer> GrammarServiceTest::tokenizer_;

TEST_F(GrammarServiceTest, JsonObjects) {
  for (const std::string& text : Answers({.kind = Kind::kJsonObject, .text = "", .choices = {}})) {
    EXPECT_TRUE(nlohmann::json::parse(text, nullptr, false).is_object()) << text;
  }
}

TEST_F(GrammarServiceTest, JsonOfASchema) {
  const std::string schema = R"({"type": "object", "required": ["kind", "count"], "properties":
      {"kind": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 1, "maximum": 20}}})";
  for (const std::string& text : Answers({.kind = Kind::kJsonSchema, .text = schema, .choices = {}})) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    ASSERT_TRUE(json.is_object() && json.size() == 2) << text;
    EXPECT_TRUE(json["kind"] == "red" || json["kind"] == "blue") << text;
    EXPECT_TRUE(json["count"].is_number_integer() && json["count"] >= 1 && json["count"] <= 20) << text;
  }
}

TEST_F(GrammarServiceTest, TextThatMatchesARegex) {
  const std::string regex = "[0-9]{3}-[a-f]{1,4}\\.(com|org)";
  for (const std::string& text : Answers({.kind = Kind::kRegex, .text = regex, .choices = {}}))
    EXPECT_TRUE(std::regex_match(text, std::regex(regex))) << text;
}

TEST_F(GrammarServiceTest, OneOfTheChoices) {
  const std::vector<std::string> choices = {"yes", "yes, \"but\"", "a\\n\n\tb", "né", "]|root ::="};
  EXPECT_EQ(Answers({.kind = Kind::kChoice, .text = "", .choices = choices}),
            std::set<std::string>({"yes", "a\\n\n\tb", "né", "]|root ::="}))
      << "all but what goes on behind another";
}

TEST_F(GrammarServiceTest, WhatAGrammarDerives) {
  const std::string grammar = "root ::= pair (\"; \" pair)*\npair ::= [a-c] \"=\" [0-9]";
  for (const std::string& text : Answers({.kind = Kind::kEbnf, .text = grammar, .choices = {}}))
    EXPECT_TRUE(std::regex_match(text, std::regex("[a-c]=[0-9](; [a-c]=[0-9])*"))) << text;
}

TEST_F(GrammarServiceTest, AnAnswerMayEndExactlyWhereTheFormMay) {
  const auto grammar = Compile({.kind = Kind::kRegex, .text = "ab?c", .choices = {}});
  const auto matcher = grammar->Start(0);
  for (const char* token : {"a", "b", "c"}) {
    EXPECT_NE(Allowed(*MaskOf(*matcher)).front(), kEnd) << "before " << token;
    matcher->Accept(tokenizer_->TokenId(token));
  }
  EXPECT_EQ(Allowed(*MaskOf(*matcher)), std::vector<int32_t>{kEnd});
}

TEST_F(GrammarServiceTest, AnswersOfOneFormGoTheirOwnWays) {
  auto grammar = Compile({.kind = Kind::kRegex, .text = "a*b", .choices = {}});
  const auto one = grammar->Start(0), other = grammar->Start(0);
  grammar.reset();
  ASSERT_TRUE(MaskOf(*one).ok());
  one->Accept(tokenizer_->TokenId("b"));
  EXPECT_EQ(Allowed(*MaskOf(*one)), std::vector<int32_t>{kEnd});
  EXPECT_GT(Allowed(*MaskOf(*other)).size(), 1u);
}

TEST_F(GrammarServiceTest, BrokenFormsAreRefusedByWhatIsWrong) {
  for (const auto& [kind, text, why] : {std::tuple(Kind::kJsonSchema, "{", "JSON"),
                                        {Kind::kJsonSchema, R"({"type": "sting"})", "sting"},
                                        {Kind::kJsonSchema, R"({"$ref": "#/nowhere"})", "nowhere"},
                                        {Kind::kRegex, "(a", ""},
                                        {Kind::kEbnf, "root ::= \"a", "line 1"},
                                        {Kind::kEbnf, "other ::= \"a\"", "root"}}) {
    const absl::Status status = Refusal(kind, text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why)) << text;
  }
}

TEST_F(GrammarServiceTest, AFormThatLeavesNoTokenSaysSo) {
  const auto matcher = Compile({.kind = Kind::kEbnf, .text = "root ::= root", .choices = {}})->Start(0);
  EXPECT_EQ(MaskOf(*matcher).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GrammarServiceTest, AHostileFormCostsOnlyItself) {
  GrammarOptions options = DefaultGrammarOptions();
  options.limits.compile_seconds = 0.3;
  options.limits.mask_seconds = 0.1;
  options.limits.memory_bytes = 64 << 20;
  signal(SIGPROF, SIG_IGN);  // as the daemon does, and what it ignores its processes inherit
  Open(options);
  const auto other = Compile({.kind = Kind::kRegex, .text = "a*b", .choices = {}})->Start(0);
  ASSERT_TRUE(MaskOf(*other).ok());
  std::string slow;  // to compile
  for (int i = 0; i < 2000; ++i) slow += "a?";
  EXPECT_THAT(std::string(Refusal(Kind::kRegex, slow).message()), HasSubstr("time or memory"));
  // Compiles at once; its masks are another matter.
  const AnswerForm ambiguous{
      .kind = Kind::kRegex, .text = "((([a-z]{1,50}){1,50}){1,50}){1,50}", .choices = {}};
  auto grammar = Compile(ambiguous);
  const auto hostile = grammar->Start(0);
  for (int i = 0; i < 100 && MaskOf(*hostile).ok(); ++i) hostile->Accept(tokenizer_->TokenId("a"));
  EXPECT_EQ(MaskOf(*hostile).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(MaskOf(*grammar->Start(0)).status().code(), absl::StatusCode::kResourceExhausted);
  other->Accept(tokenizer_->TokenId("b"));
  EXPECT_EQ(Allowed(*MaskOf(*other)), std::vector<int32_t>{kEnd});
  // The form is compiled again for whoever asks again.
  grammar = Compile(ambiguous);
  EXPECT_TRUE(MaskOf(*grammar->Start(0)).ok());
}

TEST_F(GrammarServiceTest, AllMasksOfAnAnswerTogetherTakeNoMoreThanIsGiven) {
  GrammarOptions options = DefaultGrammarOptions();
  options.limits.answer_seconds = 0;
  Open(options);
  const auto grammar = Compile({.kind = Kind::kRegex, .text = "a*b", .choices = {}});
  EXPECT_THAT(std::string(MaskOf(*grammar->Start(0)).status().message()), HasSubstr("for an answer"));
  EXPECT_EQ(MaskOf(*grammar->Start(0)).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(GrammarServiceTest, FormsAreKeptForTheTenantThatAskedForThem) {
  GrammarOptions options = DefaultGrammarOptions();
  options.kept_forms = 2;
  Open(options);
  const auto form = [](const char* text) {
    return AnswerForm{.kind = Kind::kRegex, .text = text, .choices = {}};
  };
  const auto compile = [&](const char* tenant, const char* text) {
    return *service_->Compile(tenant, form(text));
  };
  const auto a = compile("one", "a");
  EXPECT_EQ(compile("one", "a"), a);
  EXPECT_NE(compile("other", "a"), a);  // now two are kept
  EXPECT_EQ(compile("one", "a"), a);
  compile("one", "b");  // in place of the other tenant's, which was asked for first
  EXPECT_EQ(compile("one", "a"), a);
}

TEST_F(GrammarServiceTest, NoMoreFormsAtATimeThanAreGiven) {
  GrammarOptions options = DefaultGrammarOptions();
  options.max_processes = 1, options.kept_forms = 0;
  Open(options);
  auto held = Compile({.kind = Kind::kRegex, .text = "a", .choices = {}});
  EXPECT_EQ(Refusal(Kind::kRegex, "b").code(), absl::StatusCode::kResourceExhausted);
  held.reset();
  EXPECT_TRUE(Refusal(Kind::kRegex, "b").ok());
}

TEST_F(GrammarServiceTest, WhatIsNotThereIsNamed) {
  const auto opened = [](const GrammarOptions& options, std::vector<int32_t> end_tokens) {
    return GrammarService::Open(options, *tokenizer_, vocab_size(), end_tokens).status();
  };
  GrammarOptions options = DefaultGrammarOptions();
  EXPECT_EQ(opened(options, {}).code(), absl::StatusCode::kFailedPrecondition);
  options.directory = testing::TempDir();
  EXPECT_EQ(opened(options, {kEnd}).code(), absl::StatusCode::kNotFound);
  options.program = "/nowhere";
  EXPECT_EQ(opened(options, {kEnd}).code(), absl::StatusCode::kNotFound);
  options = DefaultGrammarOptions();
  options.program = "/bin/true";  // ends without a word
  EXPECT_EQ(opened(options, {kEnd}).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace hydrad
