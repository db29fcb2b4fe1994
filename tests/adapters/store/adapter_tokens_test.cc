// Tokens that adapters bring: told of with the load, and remembered.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/adapter_tokens.h"
#include "server/adapters/store/journal.h"
#include "tests/adapters/store/store_fixture.h"
#include "tests/fakes/fake_log_directory.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Ids: a 0, b 1, and those of `added`, in order.
std::string TokenizerFile(const std::vector<std::string>& added) {
  Json file = {{"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}}}, {"merges", Json::array()}}}};
  for (const std::string& content : added) file["added_tokens"].push_back({{"content", content}});
  return file.dump();
}

class AdapterTokensTest : public StoreFixture {
 protected:
  void Put(const std::string& tokenizer) {
    AdapterFiles files = PlainLora();
    if (!tokenizer.empty()) files.extra = {{"tokenizer.json", tokenizer}};
    disk_.Put("a", files.Bytes());
  }
  // A store that goes on where the last one was, for a base with this tokenizer.
  std::unique_ptr<AdapterStore> Open(const std::vector<std::string>& base) {
    AdapterStore::Parts parts;
    parts.disk = std::make_unique<FakeDisk>(disk_);
    parts.journal = *Journal::Open(std::make_unique<FakeLogDirectory>(log_));
    AdapterStoreOptions options;
    options.base_tokenizer = *Tokenizer::FromJson(TokenizerFile(base));
    return std::make_unique<AdapterStore>(options, backend_, TinyModel(), clock_, std::move(parts));
  }

  FakeLogDirectory log_;
};

TEST_F(AdapterTokensTest, OutliveARestart) {
  {
    const auto store = Open({"<s>"});
    Put(TokenizerFile({"<s>", "<x>"}));
    ASSERT_TRUE(Load(*store, "own", "a").ok());
    Put("");
    ASSERT_TRUE(Load(*store, "none", "a").ok());
    EXPECT_EQ(store->Get("own")->tokens->count, 1);
    EXPECT_EQ(store->Acquire("none")->tokens(), nullptr);
  }
  const auto store = Open({"<s>"});
  const auto tokens = store->Acquire("own")->tokens();
  ASSERT_NE(tokens, nullptr);
  EXPECT_THAT(tokens->tokenizer->Encode("a<x>", false, true), ElementsAre(0, 3));
  EXPECT_EQ(tokens->vocab, TinyModel().vocab_size);
  EXPECT_EQ(store->Acquire("none")->tokens(), nullptr);
}

TEST_F(AdapterTokensTest, OfAnotherBaseTheyFail) {
  Put(TokenizerFile({"<x>"}));
  ASSERT_TRUE(Load(*Open({}), "own", "a").ok());
  std::vector<std::string> many;  // so that the adapter's token has no id below 11 any more
  for (char c = 'c'; c < 'n'; ++c) many.push_back(std::string("<") + c + ">");
  const auto store = Open(many);
  const absl::Status status = store->Acquire("own").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("neither the base model nor the adapter has its row"));
}

}  // namespace
}  // namespace hydrad
