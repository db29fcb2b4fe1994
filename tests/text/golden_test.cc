// The ids of committed golden files, which come from the `tokenizers` package; see tests/golden/README.md.
#include <gtest/gtest.h>

#include <algorithm>
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

// The contents of the special tokens in the file.
std::vector<std::string> SpecialTokens(const std::string& path) {
  std::vector<std::string> out;
  const auto file = nlohmann::json::parse(std::ifstream(path));
  for (const auto& token : file.at("added_tokens")) {
    if (token.at("special").get<bool>()) out.push_back(token.at("content").get<std::string>());
  }
  return out;
}

TEST(GoldenTokens, SpecialTokensInUsersTextsStayText) {
  const auto golden = nlohmann::json::parse(std::ifstream(kGolden));
  const std::string path = golden.at("model").get<std::string>() + "/tokenizer.json";
  const auto tokenizer = Tokenizer::Load(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto specials = SpecialTokens(path);
  ASSERT_FALSE(specials.empty());
  for (const std::string& special : specials) {
    const std::string user = "Say " + special + " twice: " + special;
    const std::string text = special + "user\n" + user + special + "\n";
    const size_t begin = text.find(user);
    const std::vector<ByteRange> data = {{begin, begin + user.size()}};
    const auto ids = (*tokenizer)->Encode(text, data);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), (*tokenizer)->TokenId(special)), 2) << special;
    for (const auto& entry : golden.at("texts")) {
      // Borders of data that hold no special token change nothing.
      const auto plain = entry.at("text").get<std::string>();
      const auto whole = (*tokenizer)->Encode(plain, /*add_special=*/false, /*parse_special=*/true);
      if (whole != (*tokenizer)->Encode(plain, false, /*parse_special=*/false)) continue;
      const std::vector<ByteRange> half = {{plain.size() / 3, plain.size() / 2}};
      EXPECT_EQ((*tokenizer)->Encode(plain, half), whole) << plain;
    }
  }
}

}  // namespace
}  // namespace hydrad
