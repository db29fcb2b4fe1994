#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "server/text/chat_template.h"

namespace hydrad {
namespace {

// A directory with files that goes with the test.
class ChatFilesTest : public testing::Test {
 protected:
  ChatFilesTest() {
    std::string name = (std::filesystem::temp_directory_path() / "chat_files_XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~ChatFilesTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << text;
  }
  ChatFiles Read() {
    const auto files = ReadChatFiles(root_.string());
    EXPECT_TRUE(files.ok()) << files.status();
    return files.value_or(ChatFiles{});
  }
  std::string Error() { return std::string(ReadChatFiles(root_.string()).status().message()); }

  std::filesystem::path root_;
};

TEST_F(ChatFilesTest, NothingThereIsNoError) {
  EXPECT_TRUE(Read().templates.empty());
  EXPECT_TRUE(Read().tokens.empty());
}

TEST_F(ChatFilesTest, AStringIsTheDefault) {
  Write("tokenizer_config.json", R"({"chat_template": "{{ x }}", "bos_token": "<s>", "pad_token": null,
      "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": false}})");
  const ChatFiles files = Read();
  EXPECT_EQ(files.templates, (std::map<std::string, std::string>{{"default", "{{ x }}"}}));
  EXPECT_EQ(files.tokens, (std::map<std::string, std::string>{{"bos_token", "<s>"}, {"eos_token", "</s>"}}));
}

TEST_F(ChatFilesTest, AListHasNames) {
  Write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]})");
  EXPECT_EQ(Read().templates, (std::map<std::string, std::string>{{"default", "a"}, {"tool_use", "b"}}));
}

TEST_F(ChatFilesTest, TheTemplatesFileCountsMore) {
  Write("tokenizer_config.json", R"({"chat_template": "a"})");
  Write("chat_template.jinja", "b\n");
  Write("additional_chat_templates/tool_use.jinja", "c");
  Write("additional_chat_templates/notes.txt", "d");
  EXPECT_EQ(Read().templates, (std::map<std::string, std::string>{{"default", "b\n"}, {"tool_use", "c"}}));
}

TEST_F(ChatFilesTest, ErrorsNameFileAndField) {
  Write("tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_NE(Error().find("tokenizer_config.json: chat_template: is neither"), std::string::npos) << Error();
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "a"}]})");
  EXPECT_NE(Error().find("chat_template: an entry"), std::string::npos) << Error();
  Write("tokenizer_config.json", R"({"bos_token": 7})");
  EXPECT_NE(Error().find("bos_token: is no token"), std::string::npos) << Error();
  Write("tokenizer_config.json", "[");
  EXPECT_NE(Error().find("tokenizer_config.json: "), std::string::npos) << Error();
}

}  // namespace
}  // namespace hydrad
