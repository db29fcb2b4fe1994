#include "server/base/unknown_word.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace hydrad {
namespace {

using Words = std::vector<std::string>;

TEST(Nearest, IsTheOneWithTheFewestMistakes) {
  EXPECT_EQ(Nearest("generte", {"health", "generate", "route"}), "generate");
  EXPECT_EQ(Nearest("--adaptor", {"--adapter-top-k", "--adapter", "--admin"}), "--adapter");
  EXPECT_EQ(Nearest("modle", {"module", "model"}), "module") << "one letter put in; the first of equals";
  EXPECT_EQ(Nearest("--modle", {"--model"}), "--model") << "two letters swapped count once";
  EXPECT_EQ(Nearest("ab", {"abc"}), "abc");
}

TEST(Nearest, NothingIsNearToWhatIsFar) {
  EXPECT_EQ(Nearest("serve", {"generate", "tokenize"}), std::nullopt);
  EXPECT_EQ(Nearest("x", {"abc"}), std::nullopt);
  EXPECT_EQ(Nearest("", {}), std::nullopt);
  EXPECT_EQ(Nearest(std::string(1 << 20, 'a'), {std::string(1 << 20, 'a')}), std::nullopt)
      << "nobody types that";
}

struct UnknownWordTest : testing::Test {
  UnknownWordTest() {
    app.add_option("--server", server);
    CLI::App* generate = app.add_subcommand("generate");
    generate->add_option("PROMPT", prompt);
    generate->add_option("--adapter", adapter);
    generate->add_flag("--json", json);
    app.add_subcommand("adapter")->add_subcommand("load");
  }
  CLI::App app;
  std::string server, prompt, adapter;
  bool json = false;
};

TEST_F(UnknownWordTest, NamesCommandsAndOptions) {
  EXPECT_EQ(UnknownWord(app, {"generte", "Hello"}), "unknown command 'generte'; did you mean 'generate'?");
  EXPECT_EQ(UnknownWord(app, {"adapter", "laod", "x"}), "unknown command 'laod'; did you mean 'load'?");
  EXPECT_EQ(UnknownWord(app, {"generate", "--adaptor=x", "Hello"}),
            "unknown option '--adaptor'; did you mean '--adapter'?");
  EXPECT_EQ(UnknownWord(app, {"generate", "--sever", "x"}),
            "unknown option '--sever'; did you mean '--server'?")
      << "options of the program hold for its commands";
  EXPECT_EQ(UnknownWord(app, {"--json"}), "unknown option '--json'")
      << "which the program itself does not have";
}

TEST_F(UnknownWordTest, ValuesAndTextAreNotCommands) {
  EXPECT_EQ(UnknownWord(app, {"--server", "generte", "generate", "generte"}), std::nullopt);
  EXPECT_EQ(UnknownWord(app, {"generate", "--", "--adaptor"}), std::nullopt);
  EXPECT_EQ(UnknownWord(app, {"generate", "-"}), std::nullopt);
  EXPECT_EQ(UnknownWord(app, Words{}), std::nullopt);
}

}  // namespace
}  // namespace hydrad
