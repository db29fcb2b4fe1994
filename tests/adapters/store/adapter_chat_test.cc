// Chat templates that adapters bring: read with the load, told of, and remembered.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/formats/adapter_chat.h"
#include "tests/adapters/store/store_fixture.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

using Files = std::map<std::string, std::string>;

class AdapterChatTest : public StoreFixture {
 protected:
  void Put(Files extra) {
    AdapterFiles files = PlainLora();
    files.extra = std::move(extra);
    disk_.Put("a", files.Bytes());
  }
  std::shared_ptr<const ChatFormat> Read(const ChatFormat* base = nullptr) {
    const auto chat = ReadAdapterChat(disk_, "a", base);
    EXPECT_TRUE(chat.ok()) << chat.status();
    return chat.ok() ? *chat : nullptr;
  }
};

const ChatFormat& Base() {
  static const ChatFormat base(
      ChatFiles{.templates = {{"default", "base"}}, .tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}}});
  return base;
}

TEST_F(AdapterChatTest, ReadsWhatTheDirectoryBrings) {
  Put({});
  EXPECT_EQ(Read(), nullptr);
  Put({{"tokenizer_config.json", R"({"eos_token": "</s>", "padding_side": "left"})"}});
  EXPECT_EQ(Read(), nullptr) << "tokens alone write nothing";
  Put({{"tokenizer_config.json", R"({"chat_template": "own", "eos_token": {"content": "<e>"}})"}});
  EXPECT_THAT(Read(&Base())->files()->templates, ElementsAre(Pair("default", "own")));
  EXPECT_THAT(Read(&Base())->files()->tokens,
              UnorderedElementsAre(Pair("bos_token", "<s>"), Pair("eos_token", "<e>")));
  EXPECT_EQ(Read(&Base())->eos_token(), "<e>");
  Put({{"tokenizer_config.json", R"({"chat_template": "own"})"}, {"chat_template.jinja", "file"}});
  EXPECT_THAT(Read()->files()->templates, ElementsAre(Pair("default", "file")));
}

TEST_F(AdapterChatTest, WhatIsTheBasesIsNotTheAdapters) {
  Put({{"tokenizer_config.json", R"({"chat_template": "base", "eos_token": "</s>"})"}});
  EXPECT_EQ(Read(&Base()), nullptr);
  EXPECT_NE(Read(), nullptr);
  Put({{"chat_template.jinja", "base"}, {"tokenizer_config.json", R"({"eos_token": "<e>"})"}});
  EXPECT_NE(Read(&Base()), nullptr) << "it ends otherwise";
}

TEST_F(AdapterChatTest, BrokenFilesAreToldAndDiskErrorsFail) {
  const std::string large(200 << 10, 'x');
  for (const Files& files :
       {Files{{"tokenizer_config.json", "{"}}, Files{{"tokenizer_config.json", R"({"chat_template": 1})"}},
        Files{{"chat_template.jinja", "{% for %}"}}, Files{{"chat_template.jinja", large}}}) {
    Put(files);
    const auto chat = Read(&Base());
    ASSERT_NE(chat, nullptr);
    EXPECT_TRUE(absl::IsFailedPrecondition(chat->status())) << chat->status();
  }
  disk_.Break(absl::InternalError("no disk"));
  EXPECT_TRUE(absl::IsInternal(ReadAdapterChat(disk_, "a", nullptr).status()));
}

TEST_F(AdapterChatTest, ALoadTellsItAndTheDigestStays) {
  Put({});
  const auto store = MakeStore();
  const std::string digest = Load(*store, "a", "a")->digest;
  EXPECT_EQ(store->Acquire("a")->chat(), nullptr);
  Put({{"chat_template.jinja", "own"}});
  EXPECT_EQ(Load(*store, "a", "a")->digest, digest);
  EXPECT_THAT(store->Get("a")->warnings, IsEmpty());
  const auto own = store->Acquire("a")->chat();
  ASSERT_NE(own, nullptr);
  EXPECT_TRUE(own->status().ok());
  Put({{"chat_template.jinja", "{% for %}"}});
  EXPECT_THAT(Load(*store, "a", "a")->warnings, ElementsAre(HasSubstr("chat with it is refused")));
  EXPECT_FALSE(store->Acquire("a")->chat()->status().ok());
}

TEST_F(AdapterChatTest, OutlivesARestart) {
  FakeLogDirectory log;
  {
    const auto store = OpenStore(log);
    Put({{"tokenizer_config.json", R"({"chat_template": "own \u00e9", "eos_token": "<e>"})"}});
    ASSERT_TRUE(Load(*store, "own", "a").ok());
    Put({{"tokenizer_config.json", "{"}});
    ASSERT_TRUE(Load(*store, "broken", "a").ok());
    ASSERT_TRUE(Load(*store, "none", "one").ok());
  }
  Put({});
  const auto store = OpenStore(log);
  EXPECT_EQ(store->Get("own")->tier, Tier::kDisk) << "nothing has been read";
  const auto own = store->Acquire("own")->chat();
  ASSERT_NE(own, nullptr);
  EXPECT_THAT(own->files()->templates, ElementsAre(Pair("default", "own \u00e9")));
  EXPECT_EQ(own->eos_token(), "<e>");
  EXPECT_THAT(std::string(store->Acquire("broken")->chat()->status().message()),
              HasSubstr("tokenizer_config.json"));
  EXPECT_EQ(store->Acquire("none")->chat(), nullptr);
}

}  // namespace
}  // namespace hydrad
