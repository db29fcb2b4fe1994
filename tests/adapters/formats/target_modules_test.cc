#include "server/adapters/formats/target_modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Of some modules of a model, those that the config tells of.
std::vector<std::string> Told(const Json& config, bool bare_ends = false) {
  const auto targets = TargetModules::Parse(config, bare_ends);
  EXPECT_TRUE(targets.ok()) << targets.status();
  std::vector<std::string> told;
  for (const char* path : {"model.embed_tokens", "lm_head", "model.layers.0.self_attn.q_proj",
                           "model.layers.1.self_attn.q_proj", "model.layers.11.mlp.up_proj"}) {
    if (targets.ok() && *targets->Has(path)) told.push_back(path);
  }
  return told;
}
std::string Error(const Json& config) {
  return std::string(TargetModules::Parse(config, false).status().message());
}

const char kQ0[] = "model.layers.0.self_attn.q_proj", kQ1[] = "model.layers.1.self_attn.q_proj";
const char kUp11[] = "model.layers.11.mlp.up_proj";

TEST(TargetModules, AreNamesAtTheEndOfAPath) {
  EXPECT_THAT(Told({{"target_modules", {"q_proj"}}}), ElementsAre(kQ0, kQ1));
  EXPECT_THAT(Told({{"target_modules", {"proj", "_proj"}}}), IsEmpty());
  EXPECT_THAT(Told({{"target_modules", {"0.self_attn.q_proj", "embed_tokens"}}}),
              ElementsAre("model.embed_tokens", kQ0));
  EXPECT_THAT(Told({{"target_modules", {"lm_head", kUp11}}}), ElementsAre("lm_head", kUp11));
  EXPECT_THAT(Told({{"target_modules", Json::array()}}), IsEmpty());
  EXPECT_THAT(Told({{"target_modules", {"_proj"}}}, true), ElementsAre(kQ0, kQ1, kUp11));
  EXPECT_THAT(Told({{"target_modules", {{"q_proj", true}, {"up_proj", false}}}}), ElementsAre(kQ0, kQ1));
}

TEST(TargetModules, MayBeAPatternOfTheWholePath) {
  EXPECT_THAT(Told({{"target_modules", R"(.*\.[01]\.self_attn\.(q|v)_proj)"}}), ElementsAre(kQ0, kQ1));
  EXPECT_THAT(Told({{"target_modules", "q_proj"}}), IsEmpty());
  EXPECT_THAT(Told({{"target_modules", "model.*|lm_head"}}).size(), 5);
  // As Unsloth writes it.
  EXPECT_THAT(Told({{"target_modules",
                     R"((?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|up_proj).*?)|)"
                     R"((?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj))))"}}),
              ElementsAre(kQ0, kQ1, kUp11));
  EXPECT_THAT(Told({{"target_modules", "all-linear"}}), ElementsAre(kQ0, kQ1, kUp11));
  EXPECT_THAT(Told({{"target_modules", "ALL-linear"}, {"exclude_modules", {"q_proj"}}}), ElementsAre(kUp11));
}

TEST(TargetModules, AreNarrowedDown) {
  const Json both = {"q_proj", "up_proj", "lm_head"};
  EXPECT_THAT(Told({{"target_modules", both}, {"exclude_modules", {"1.self_attn.q_proj", "lm_head"}}}),
              ElementsAre(kQ0, kUp11));
  EXPECT_THAT(Told({{"target_modules", both}, {"exclude_modules", R"(.*layers\.\d\..*)"}}),
              ElementsAre("lm_head", kUp11));
  EXPECT_THAT(Told({{"target_modules", both}, {"layers_to_transform", {1, 11}}}), ElementsAre(kQ1, kUp11));
  EXPECT_THAT(Told({{"target_modules", both}, {"layers_to_transform", 0}}), ElementsAre(kQ0));
  EXPECT_THAT(Told({{"target_modules", both}, {"layers_to_transform", Json::array()}}).size(), 4);
  EXPECT_THAT(Told({{"target_modules", both}, {"layers_to_transform", 0}, {"layers_pattern", "layers"}}),
              ElementsAre(kQ0));
  EXPECT_THAT(
      Told({{"target_modules", both}, {"layers_to_transform", 0}, {"layers_pattern", {"h", "blocks"}}}),
      IsEmpty());
  // Patterns of paths are not narrowed down by layers.
  EXPECT_THAT(Told({{"target_modules", ".*q_proj"}, {"layers_to_transform", 1}}), ElementsAre(kQ0, kQ1));
}

TEST(TargetModules, MayBeUntold) {
  EXPECT_FALSE(TargetModules::Parse(Json::object(), false)->told());
  EXPECT_FALSE(TargetModules::Parse({{"target_modules", nullptr}}, false)->told());
  EXPECT_TRUE(TargetModules::Parse({{"target_modules", Json::array()}}, false)->told());
}

TEST(TargetModules, BadFieldsAreNamed) {
  EXPECT_THAT(Error({{"target_modules", 3}}), HasSubstr("field 'target_modules'"));
  EXPECT_THAT(Error({{"target_modules", {"q_proj", 3}}}), HasSubstr("field 'target_modules'"));
  EXPECT_THAT(Error({{"target_modules", {{"q_proj", 1}}}}), HasSubstr("field 'target_modules'"));
  EXPECT_THAT(Error({{"target_modules", "(q_proj"}}), HasSubstr("field 'target_modules'"));
  EXPECT_THAT(Error({{"exclude_modules", false}}), HasSubstr("field 'exclude_modules'"));
  EXPECT_THAT(Error({{"layers_to_transform", {0, -1}}}), HasSubstr("field 'layers_to_transform'"));
  EXPECT_THAT(Error({{"layers_to_transform", "all"}}), HasSubstr("field 'layers_to_transform'"));
  EXPECT_THAT(Error({{"layers_pattern", {3}}}), HasSubstr("field 'layers_pattern'"));
  const auto costly = TargetModules::Parse({{"target_modules", "(([a-z_.]+)*)*[XY]"}}, false);
  ASSERT_TRUE(costly.ok());
  EXPECT_THAT(std::string(costly->Has(std::string(40, 'a')).status().message()), HasSubstr("costs too much"));
}

}  // namespace
}  // namespace hydrad
