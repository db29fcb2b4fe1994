// The ids of committed golden files, which come from the `tokenizers` package; see tests/golden/README.md.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "server/text/tokenizer.h"

namespace hydrad {
namespace {

#ifdef HYDRAD_SMOLLM2
constexpr char kGolden[] = "tests/golden/tokens/smollm2.json";
#else
constexpr char kGolden[] = "tests/golden/tokens/tiny.json";
#endif

TEST(GoldenTokens, EveryTextThereAndBack) {
  const auto golden = nlohmann::json::parse(std::ifstream(kGolden));
  const auto tokenizer = Tokenizer::Load(golden.at("model").get<std::string>() + "/tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ASSERT_FALSE(golden.at("texts").empty());
  for (const auto& entry : golden.at("texts")) {
    const auto text = entry.at("text").get<std::string>();
    const auto ids = entry.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ((*tokenizer)->Encode(text, /*add_special=*/false, /*parse_special=*/true), ids) << text;
    EXPECT_EQ((*tokenizer)->Decode(ids, /*skip_special=*/false), entry.at("decoded").get<std::string>());
    EXPECT_EQ((*tokenizer)->Decode(ids, /*skip_special=*/true),
              entry.at("decoded_without_special").get<std::string>());
  }
}

}  // namespace
}  // namespace hydrad
