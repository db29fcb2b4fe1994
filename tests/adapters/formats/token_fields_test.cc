#include "server/adapters/formats/token_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::StartsWith;

std::string Error(const Json& config) { return std::string(ParseTokenFields(config).status().message()); }

TEST(ParseTokenFields, NothingIsOnByDefault) {
  const Json nulls = {{"modules_to_save", nullptr},
                      {"trainable_token_indices", nullptr},
                      {"alora_invocation_tokens", nullptr},
                      {"ensure_weight_tying", false}};
  for (const Json& config : {Json::object(), nulls}) {
    const auto fields = ParseTokenFields(config);
    ASSERT_TRUE(fields.ok()) << fields.status();
    EXPECT_FALSE(fields->saves_embedding || fields->saves_head || fields->ties);
    EXPECT_FALSE(fields->embedding_tokens || fields->head_tokens);
    EXPECT_THAT(fields->invocation, IsEmpty());
  }
}

TEST(ParseTokenFields, ModulesGoByTheEndOfTheirPath) {
  const auto fields = ParseTokenFields(
      {{"modules_to_save", {"model.embed_tokens", "lm_head"}}, {"ensure_weight_tying", true}});
  ASSERT_TRUE(fields.ok()) << fields.status();
  EXPECT_TRUE(fields->saves_embedding && fields->saves_head && fields->ties);
  EXPECT_EQ(Error({{"modules_to_save", {"lm_head", "norm"}}}),
            "field 'modules_to_save': 'norm' as a whole is not supported; embed_tokens and lm_head are");
  EXPECT_THAT(Error({{"modules_to_save", {"wlm_head"}}}),
              StartsWith("field 'modules_to_save': 'wlm_head' as"));
  EXPECT_THAT(Error({{"modules_to_save", {3}}}), StartsWith("field 'modules_to_save': '3' as a whole"));
  EXPECT_EQ(Error({{"modules_to_save", "lm_head"}}),
            "field 'modules_to_save': must be a list of module names");
}

TEST(ParseTokenFields, AListOfTokensIsTheEmbeddings) {
  const auto fields = ParseTokenFields({{"trainable_token_indices", {7, 0, 3}}});
  ASSERT_TRUE(fields.ok()) << fields.status();
  EXPECT_THAT(fields->embedding_tokens, Optional(ElementsAre(7, 0, 3)));
  EXPECT_FALSE(fields->head_tokens);
  EXPECT_FALSE(ParseTokenFields({{"trainable_token_indices", Json::array()}})->embedding_tokens);
}

TEST(ParseTokenFields, TokensOfNamedModules) {
  const auto fields =
      ParseTokenFields({{"trainable_token_indices", {{"lm_head", {1}}, {"model.embed_tokens", {2, 5}}}}});
  ASSERT_TRUE(fields.ok()) << fields.status();
  EXPECT_THAT(fields->embedding_tokens, Optional(ElementsAre(2, 5)));
  EXPECT_THAT(fields->head_tokens, Optional(ElementsAre(1)));
  EXPECT_THAT(Error({{"trainable_token_indices", {{"wte", {1}}}}}),
              StartsWith("field 'trainable_token_indices': tokens of 'wte' are not supported"));
}

TEST(ParseTokenFields, TokensAreTokens) {
  const char* bad = "field 'trainable_token_indices': must be a list of token ids";
  for (const Json& tokens : {Json("x"), Json(5), Json({-1}), Json({1.5}), Json({"1"}), Json({true}),
                             Json::array({nullptr}), Json({2147483648u}), Json({18446744073709551615u})}) {
    EXPECT_EQ(Error({{"trainable_token_indices", tokens}}), bad) << tokens;
  }
  EXPECT_EQ(Error({{"trainable_token_indices", {4, 5, 4}}}),
            "field 'trainable_token_indices': token 4 is given twice");
  EXPECT_EQ(Error({{"trainable_token_indices", {4}}, {"modules_to_save", {"embed_tokens"}}}),
            "field 'trainable_token_indices': names a module that modules_to_save holds as a whole");
}

TEST(ParseTokenFields, TheInvocationMayRepeatAToken) {
  EXPECT_THAT(ParseTokenFields({{"alora_invocation_tokens", {9, 9}}})->invocation, ElementsAre(9, 9));
  EXPECT_EQ(Error({{"alora_invocation_tokens", "call"}}),
            "field 'alora_invocation_tokens': must be a list of token ids");
}

}  // namespace
}  // namespace hydrad
