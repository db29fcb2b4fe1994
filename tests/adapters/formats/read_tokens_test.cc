// What adapters' tokenizers are followed in, and what is refused.
#include "server/adapters/formats/read_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"
#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json Token(const std::string& content, bool special = false) {
  return {{"content", content}, {"special", special}, {"normalized", false}};
}

// Ids: a 0, b 1, ab 2, <s> 3.
json BaseFile() {
  json file = ByteLevelFile({});
  file["pre_tokenizer"] = nullptr;
  file["decoder"] = nullptr;
  file["model"] = BpeJson({"a", "b"}, {{"a", "b"}});
  file["added_tokens"] = json::array({Token("<s>", true)});
  return file;
}

// A base of 6 tokens, the last two without text.
class ReadTokensTest : public ::testing::Test {
 protected:
  void Put(const json& tokenizer, const std::string& config = "") {
    AdapterFiles files = PlainLora();
    if (!tokenizer.is_null()) files.extra["tokenizer.json"] = tokenizer.dump();
    if (!config.empty()) files.extra["tokenizer_config.json"] = config;
    disk_.Put("a", files.Bytes());
  }
  absl::StatusOr<std::shared_ptr<const AdapterTokens>> Read(int vocab) {
    warnings_.clear();
    return ReadAdapterTokens(disk_, "a", *base_, 6, vocab, &warnings_);
  }
  // Not followed, and why, where the adapter has rows of 7 tokens and where it has those of the base.
  void ExpectNotFollowed(const std::string& why) {
    const absl::Status status = Read(7).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a: tokenizer.json: " + why));
    const auto read = Read(6);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, nullptr);
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr(why)));
  }

  const std::unique_ptr<const Tokenizer> base_ = LoadOrDie(BaseFile());
  FakeDisk disk_;
  std::vector<std::string> warnings_;
};

TEST_F(ReadTokensTest, TokensBeyondTheBases) {
  json file = BaseFile();
  for (const char* content : {"<x>", "<y>", "<z>"}) file["added_tokens"].push_back(Token(content));
  Put(file, R"({"eos_token": {"content": "<z>"}})");
  const auto read = Read(7);
  ASSERT_TRUE(read.ok()) << read.status();
  const AdapterTokens& tokens = **read;
  EXPECT_EQ(tokens.count, 3);
  EXPECT_EQ(tokens.vocab, 7);
  EXPECT_EQ(tokens.eos, 6);
  EXPECT_THAT(tokens.tokenizer->Encode("ab<x>b<z>", false, true), ElementsAre(2, 4, 1, 6));
  EXPECT_EQ(tokens.tokenizer->Decode(std::vector<int32_t>{0, 6}, true), "a <z>");
  EXPECT_THAT(warnings_, IsEmpty());

  AdapterTokens remembered;
  remembered.vocab = 7;
  remembered.base_vocab = 6;
  remembered.more = tokens.more;
  remembered.eos_token = tokens.eos_token;
  const auto again = WithTokenizer(remembered, *base_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT((*again)->tokenizer->Encode("<y>", false, true), ElementsAre(5));
  EXPECT_EQ((*again)->eos, 6);
}

TEST_F(ReadTokensTest, TokensWithinThePaddingOfTheBase) {
  json file = BaseFile();
  file["added_tokens"].push_back(Token("<x>"));
  Put(file, R"({"eos_token": "<s>"})");
  const auto read = Read(6);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ((*read)->count, 1);
  EXPECT_EQ((*read)->eos, -1) << "that of the base ends answers already";
}

TEST_F(ReadTokensTest, TheBasesTokenizerBringsNothing) {
  Put(nullptr);
  EXPECT_EQ(*Read(6), nullptr);
  json file = BaseFile();
  file["model"]["merges"] = json::array({"a b"});  // as older versions of tokenizers write it
  Put(file);
  EXPECT_EQ(*Read(6), nullptr);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(ReadTokensTest, WhatCannotBeFollowed) {
  Put(nullptr);
  EXPECT_THAT(std::string(Read(7).status().message()),
              HasSubstr("a: tokenizer.json: is missing, and nothing else tells what the adapter's 1 tokens"));
  Put("text");
  EXPECT_THAT(std::string(Read(7).status().message()), HasSubstr("a: tokenizer.json: must be a JSON object"));

  json good = BaseFile();
  good["added_tokens"].push_back(Token("<x>"));
  json file = good;
  file["added_tokens"].push_back(Token("<y>"));
  file["added_tokens"].push_back(Token("<w>"));
  file["added_tokens"].push_back(Token("<v>"));
  Put(file);
  ExpectNotFollowed("token \"<");
  EXPECT_THAT(warnings_.front(),
              HasSubstr("has the id 6, and neither the base model nor the adapter has its row"));
  file = good;
  file["added_tokens"][0]["content"] = "<t>";
  Put(file);
  ExpectNotFollowed("added_tokens: id 3 is '<t>', where it must be '<s>'");
  file = good;
  file["model"]["vocab"] = {{"a", 1}, {"b", 0}, {"ab", 2}};
  Put(file);
  ExpectNotFollowed("model: is not the base model's: id 0 is 'b' and not 'a'");
  file = good;
  file["model"]["merges"] = json::array();
  Put(file);
  ExpectNotFollowed("model: is not the base model's: its merges are others");
  file = good;
  file["model"]["type"] = "Unigram";
  Put(file);
  ExpectNotFollowed("model: the model 'Unigram' is not supported");
  file = good;
  file["added_tokens"].push_back(1);
  Put(file);
  ExpectNotFollowed("added_tokens[2]");
}

TEST_F(ReadTokensTest, ErrorsOfTheDiskAreItsOwn) {
  Put(BaseFile());
  disk_.Break(absl::InternalError("no disk"));
  EXPECT_TRUE(absl::IsInternal(Read(6).status()));
}

}  // namespace
}  // namespace hydrad
