#include "server/front/validate.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <limits>

#include "server/front/error_details.h"
#include "server/rpc/from_proto.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr RequestLimits kLimits = {.vocab_size = 1000, .max_context = 16, .max_prompt_bytes = 40};

std::vector<std::string> BadFieldsOf(const absl::Status& status) {
  std::vector<std::string> fields;
  if (status.ok()) return fields;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const FieldViolation& violation : DetailsOf(status).violations) fields.push_back(violation.field);
  return fields;
}

template <class Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

struct Case {
  const char* request;  // text format
  const char* field;    // the one that is wrong; nullptr: none
};

TEST(ValidateAdaptersTest, BoundsCompositions) {
  const auto fields = [](const std::string& text) {
    return BadFieldsOf(Validate(FromProto(Parse<v1::GenerateRequest>("text: 'a' " + text)), kLimits));
  };
  std::string nine;
  for (int i = 0; i < 9; ++i) nine += fmt::format("adapters {{ name: 'a{}' }} ", i);
  EXPECT_THAT(fields("adapters { name: 'a' } adapters { name: 'b' weight: -2.5 } adapter_top_k: 2"),
              IsEmpty());
  EXPECT_THAT(fields(nine), ElementsAre("adapters"));
  EXPECT_THAT(fields("adapter: 'a' adapters { name: 'b' }"), ElementsAre("adapters"));
  EXPECT_THAT(fields("adapters { name: 'a' } adapters { name: 'a' }"), ElementsAre("adapters[1].name"));
  EXPECT_THAT(fields("adapters { name: 'a//b' }"), ElementsAre("adapters[0].name"));
  EXPECT_THAT(fields("adapters { name: 'a' weight: nan }"), ElementsAre("adapters[0].weight"));
  EXPECT_THAT(fields("adapters { name: 'a' weight: 101 }"), ElementsAre("adapters[0].weight"));
  EXPECT_THAT(fields("adapter: 'a' adapter_top_k: 0"), ElementsAre("adapter_top_k"));
  EXPECT_THAT(fields("adapter_top_k: 1"), ElementsAre("adapter_top_k"));
}

TEST(ValidateStoppingTest, SomeTokenMayComeBeforeMinTokens) {
  const auto fields = [](const std::string& text) {
    return BadFieldsOf(Validate(FromProto(Parse<v1::GenerateRequest>("text: 'a' stopping {" + text + "}")),
                                {.vocab_size = 2, .max_context = 16}));
  };
  EXPECT_THAT(fields("stop_token_ids: [0, 1]"), IsEmpty());
  EXPECT_THAT(fields("min_tokens: 1 stop_token_ids: [1, 1]"), IsEmpty());
  EXPECT_THAT(fields("min_tokens: 1 stop_token_ids: [0, 1]"), ElementsAre("stopping.stop_token_ids"));
}

class GenerateTest : public testing::TestWithParam<Case> {};

TEST_P(GenerateTest, NamesTheField) {
  const absl::Status status = Validate(FromProto(Parse<v1::GenerateRequest>(GetParam().request)), kLimits);
  if (GetParam().field == nullptr) {
    EXPECT_TRUE(status.ok()) << status;
  } else {
    EXPECT_THAT(BadFieldsOf(status), ElementsAre(GetParam().field)) << status;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(GetParam().field));
  }
}

#define TEXT "text: 'x' "
INSTANTIATE_TEST_SUITE_P(
    Prompt, GenerateTest,
    testing::Values(Case{"", "prompt"}, Case{"text: ''", "text"}, Case{"text: 'a'", nullptr},
                    Case{"text: '0123456789012345678901234567890123456789'", nullptr},
                    Case{"text: '0123456789012345678901234567890123456789!'", "text"},
                    Case{"token_ids {}", "token_ids.ids"}, Case{"token_ids { ids: [0, 999] }", nullptr},
                    Case{"token_ids { ids: [0, 1000] }", "token_ids.ids[1]"},
                    Case{"token_ids { ids: -1 }", "token_ids.ids[0]"},
                    Case{"token_ids { ids: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15] }", nullptr},
                    Case{"token_ids { ids: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16] }", "token_ids.ids"}));
INSTANTIATE_TEST_SUITE_P(Adapter, GenerateTest,
                         testing::Values(Case{TEXT "adapter: 'sql-v1.2_x'", nullptr},
                                         Case{TEXT "adapter: '.hidden'", "adapter"},
                                         Case{TEXT "adapter: '../etc'", "adapter"},
                                         Case{TEXT "adapter: 'a b'", "adapter"}));
INSTANTIATE_TEST_SUITE_P(
    Sampling, GenerateTest,
    testing::Values(Case{TEXT "sampling { temperature: 0 }", nullptr},
                    Case{TEXT "sampling { temperature: 100 }", nullptr},
                    Case{TEXT "sampling { temperature: -0.1 }", "sampling.temperature"},
                    Case{TEXT "sampling { temperature: 101 }", "sampling.temperature"},
                    Case{TEXT "sampling { temperature: nan }", "sampling.temperature"},
                    Case{TEXT "sampling { temperature: inf }", "sampling.temperature"},
                    Case{TEXT "sampling { top_p: 1 }", nullptr},
                    Case{TEXT "sampling { top_p: 0 }", "sampling.top_p"},
                    Case{TEXT "sampling { top_p: nan }", "sampling.top_p"},
                    Case{TEXT "sampling { top_k: 0 }", nullptr},
                    Case{TEXT "sampling { top_k: -1 }", "sampling.top_k"},
                    Case{TEXT "sampling { min_p: 1.5 }", "sampling.min_p"},
                    Case{TEXT "sampling { repetition_penalty: 0 }", "sampling.repetition_penalty"},
                    Case{TEXT "sampling { repetition_penalty: 10.5 }", "sampling.repetition_penalty"},
                    Case{TEXT "sampling { temperature: 1e-45 top_p: 1e-45 min_p: 1e-45 }", nullptr},
                    Case{TEXT "sampling { temperature: -0.0 repetition_penalty: 1e-45 }", nullptr},
                    Case{TEXT "sampling { repetition_penalty: -0.0 }", "sampling.repetition_penalty"},
                    Case{TEXT "sampling { logit_bias { key: 5 value: 3e38 } }", "sampling.logit_bias[5]"},
                    Case{TEXT "sampling { presence_penalty: -2.5 }", "sampling.presence_penalty"},
                    Case{TEXT "sampling { frequency_penalty: 2.5 }", "sampling.frequency_penalty"},
                    Case{TEXT "sampling { n: 16 }", nullptr}, Case{TEXT "sampling { n: 0 }", "sampling.n"},
                    Case{TEXT "sampling { n: 17 }", "sampling.n"},
                    Case{TEXT "sampling { logit_bias { key: 5 value: -100 } }", nullptr},
                    Case{TEXT "sampling { logit_bias { key: 1000 value: 0 } }", "sampling.logit_bias[1000]"},
                    Case{TEXT "sampling { logit_bias { key: 5 value: nan } }", "sampling.logit_bias[5]"}));
INSTANTIATE_TEST_SUITE_P(
    Stopping, GenerateTest,
    testing::Values(Case{TEXT "stopping { max_tokens: 1 }", nullptr},
                    Case{TEXT "stopping { max_tokens: 2147483647 }", nullptr},
                    Case{TEXT "stopping { max_tokens: 0 }", "stopping.max_tokens"},
                    Case{TEXT "stopping { min_tokens: -1 }", "stopping.min_tokens"},
                    Case{TEXT "stopping { min_tokens: 3 max_tokens: 3 }", nullptr},
                    Case{TEXT "stopping { min_tokens: 4 max_tokens: 3 }", "stopping.min_tokens"},
                    Case{TEXT "stopping { min_tokens: 5000 }", "stopping.min_tokens"},
                    Case{TEXT "stopping { stop: 'a' stop: '' }", "stopping.stop[1]"},
                    Case{TEXT "stopping { stop_token_ids: [1, 2000] }", "stopping.stop_token_ids[1]"}));
#define ADAPTED TEXT "adapter: 'mix' "
INSTANTIATE_TEST_SUITE_P(Expert, GenerateTest,
                         testing::Values(Case{ADAPTED "expert: 'poems'", nullptr},
                                         Case{ADAPTED "expert: 'a.b'", "expert"},
                                         Case{ADAPTED "decision: DECISION_VOTE", nullptr},
                                         Case{ADAPTED "decision: DECISION_LABEL", "expert"},
                                         Case{ADAPTED "expert: 'poems' decision: DECISION_LABEL", nullptr},
                                         Case{ADAPTED "expert: 'poems' decision: DECISION_LAST", "decision"},
                                         Case{TEXT "expert: 'poems'", "expert"},
                                         Case{TEXT "decision: DECISION_VOTE", "decision"}));
INSTANTIATE_TEST_SUITE_P(Output, GenerateTest,
                         testing::Values(Case{TEXT "output { logprobs: 20 prompt_logprobs: 0 }", nullptr},
                                         Case{TEXT "output { logprobs: 21 }", "output.logprobs"},
                                         Case{TEXT "output { prompt_logprobs: -1 }",
                                              "output.prompt_logprobs"}));
#undef TEXT

TEST(ValidateTest, ListsHaveBounds) {
  v1::GenerateRequest request;
  request.set_text("x");
  for (int i = 0; i < 17; ++i) request.mutable_stopping()->add_stop("s");
  for (int i = 0; i < 65; ++i) request.mutable_stopping()->add_stop_token_ids(1);
  for (int i = 0; i < 1025; ++i) (*request.mutable_sampling()->mutable_logit_bias())[i] = 0;
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(request), kLimits)),
              ElementsAre("sampling.logit_bias", "stopping.stop", "stopping.stop_token_ids"));
}

TEST(ValidateTest, StopStringsHaveBounds) {
  v1::GenerateRequest request;
  request.set_text("x");
  request.mutable_stopping()->add_stop(std::string(256, 's'));
  EXPECT_TRUE(Validate(FromProto(request), kLimits).ok());
  request.mutable_stopping()->add_stop(std::string(257, 's'));
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(request), kLimits)), ElementsAre("stopping.stop[1]"));
}

TEST(ValidateTest, EveryBadFieldIsNamedUpToABound) {
  v1::GenerateRequest request =
      Parse<v1::GenerateRequest>("sampling { top_p: 2 n: 0 } output { logprobs: 99 }");
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(request), kLimits)),
              ElementsAre("prompt", "sampling.top_p", "sampling.n", "output.logprobs"));
  for (int i = 0; i < 60; ++i) request.mutable_stopping()->add_stop_token_ids(-1);
  EXPECT_EQ(BadFieldsOf(Validate(FromProto(request), kLimits)).size(), kMaxViolations);
}

TEST(ValidateTest, TextMustBeUtf8) {
  v1::GenerateRequest request;
  for (const char* text : {"\xc3\x28", "\xff", "\xe4\xb8", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    request.set_text(text);
    EXPECT_THAT(BadFieldsOf(Validate(FromProto(request), kLimits)), ElementsAre("text"));
  }
}

TEST(ValidateTest, TokenizeAndDetokenize) {
  v1::TokenizeRequest tokenize;
  EXPECT_TRUE(Validate(FromProto(tokenize), kLimits).ok()) << "no text has no tokens";
  tokenize.set_text(std::string(41, 'x'));
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(tokenize), kLimits)), ElementsAre("text"));
  v1::DetokenizeRequest detokenize;
  detokenize.add_token_ids(999);
  EXPECT_TRUE(Validate(FromProto(detokenize), kLimits).ok());
  detokenize.add_token_ids(1000);
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(detokenize), kLimits)), ElementsAre("token_ids[1]"));
  for (int i = 0; i < 40; ++i) detokenize.add_token_ids(0);
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(detokenize), kLimits)), ElementsAre("token_ids"));
}

TEST(ValidateTest, LoadAdapter) {
  const auto fields = [](const char* name, const std::string& path) {
    v1::LoadAdapterRequest request;
    request.set_name(name);
    request.set_path(path);
    return BadFieldsOf(Validate(FromProto(request)));
  };
  EXPECT_THAT(fields("sql", "sql/v1"), IsEmpty());
  EXPECT_THAT(fields("sql", "a..b"), IsEmpty());
  EXPECT_THAT(fields("", "x"), ElementsAre("name"));
  EXPECT_THAT(fields("sql", ""), ElementsAre("path"));
  EXPECT_THAT(fields("sql", "/etc"), IsEmpty()) << "the store knows what is beneath its root";
  EXPECT_THAT(fields("sql", "a/../../b"), ElementsAre("path"));
  EXPECT_THAT(fields("sql", ".."), ElementsAre("path"));
  EXPECT_THAT(fields("sql", std::string("a\0b", 3)), ElementsAre("path"));
  EXPECT_THAT(fields("sql", std::string(1025, 'a')), ElementsAre("path"));
}

TEST(ValidateTest, OtherAdminRequests) {
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(Parse<v1::GetAdapterRequest>("name: '.'")))),
              ElementsAre("name"));
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(Parse<v1::UnloadAdapterRequest>("name: ''")))),
              ElementsAre("name"));
  EXPECT_TRUE(Validate(FromProto(Parse<v1::ListAdaptersRequest>("page_size: 1000"))).ok());
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(Parse<v1::ListAdaptersRequest>("page_size: 1001")))),
              ElementsAre("page_size"));
  EXPECT_THAT(BadFieldsOf(Validate(FromProto(Parse<v1::ListAdaptersRequest>("page_size: -1")))),
              ElementsAre("page_size"));
}

}  // namespace
}  // namespace hydrad
