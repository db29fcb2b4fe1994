#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

class BenchCommand : public CommandTest {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) ASSERT_EQ(Run({"adapter", "load", name, "--path", name}), 0);
  }
};

TEST_F(BenchCommand, ClosedLoopReportsEverything) {
  ASSERT_EQ(Run({"bench", "--prompts", "-", "--concurrency", "4", "--requests", "20", "--all-adapters",
                 "--mix", "round-robin", "--max-tokens", "2", "--ignore-eos", "--temperature", "0"},
                "one two three\nfour five six\n"),
            0)
      << err_;
  const Json json = *ParseJson(out_);
  EXPECT_EQ(json["requests"], 20);
  EXPECT_EQ(json["ok"], 20);
  EXPECT_EQ(json["generated_tokens"], 40);
  EXPECT_EQ(json["prompt_tokens"], 60);
  EXPECT_EQ(json["time_to_first_token_seconds"]["count"], 20);
  EXPECT_EQ(json["inter_token_seconds"]["count"], 20);
  EXPECT_EQ(json["adapters"]["a"]["ok"], 10);
  EXPECT_EQ(json["adapters"]["b"]["ok"], 10);
  EXPECT_TRUE(server_.last_generate().stopping().ignore_eos());
  EXPECT_EQ(server_.last_generate().sampling().temperature(), 0);
  EXPECT_EQ(server_.last_generate().stopping().max_tokens(), 2);
}

TEST_F(BenchCommand, OpenLoopRunsOnceThroughTheFile) {
  const std::string path = std::filesystem::path(testing::TempDir()) / "bench_prompts.jsonl";
  std::ofstream(path)
      << "{\"prompt\": \"x y\", \"adapter\": \"missing\"}\n{\"prompt\": \"x y\"}\n{\"prompt\": \"z\"}\n";
  ASSERT_EQ(Run({"bench", "--prompts", path, "--rate", "1000", "--connections", "2", "--tenant-key", "k"}), 0)
      << err_;
  const Json json = *ParseJson(out_);
  EXPECT_EQ(json["requests"], 3);
  EXPECT_EQ(json["errors"], Json({{"NOT_FOUND", 1}}));
  EXPECT_EQ(json["adapters"]["@base"]["ok"], 2);
  EXPECT_EQ(server_.last_authorization(), "Bearer k");
  std::filesystem::remove(path);
}

TEST_F(BenchCommand, AdapterListWithTheBaseModel) {
  ASSERT_EQ(Run({"bench", "--prompts", "-", "--concurrency", "1", "--requests", "4", "--adapters", "a,@base",
                 "--mix", "round-robin"},
                "x\n"),
            0)
      << err_;
  const Json json = *ParseJson(out_);
  EXPECT_EQ(json["adapters"]["@base"]["ok"], 2);
  EXPECT_EQ(json["adapters"]["a"]["ok"], 2);
}

TEST_F(BenchCommand, FailsWhenNothingSucceeds) {
  EXPECT_EQ(Run({"bench", "--prompts", "-", "--concurrency", "1", "--adapters", "missing"}, "x\n"), 1);
  EXPECT_EQ((*ParseJson(out_))["errors"]["NOT_FOUND"], 1);
  server_.FailWith(RichStatus(16, "no key", "NO_KEY"));
  EXPECT_EQ(Run({"bench", "--prompts", "-", "--concurrency", "1"}, "x\n"), 1);
  EXPECT_EQ(out_, "");
  EXPECT_NE(err_.find("NO_KEY"), std::string::npos);
}

TEST_F(BenchCommand, WrongArgumentsAreUsageErrors) {
  EXPECT_EQ(Run({"bench", "--prompts", "-"}, "x\n"), 2);  // neither rate nor concurrency
  EXPECT_EQ(Run({"bench", "--prompts", "-", "--rate", "1", "--concurrency", "1"}, "x\n"), 2);
  EXPECT_EQ(Run({"bench", "--prompts", "-", "--rate", "-1"}, "x\n"), 2);
  EXPECT_EQ(Run({"bench", "--prompts", "-", "--rate", "1", "--mix", "gauss"}, "x\n"), 2);
  EXPECT_EQ(Run({"bench", "--prompts", "-", "--rate", "1"}, "\n"), 2);
  EXPECT_EQ(Run({"bench", "--prompts", "/nowhere/at/all", "--rate", "1"}), 2);
  EXPECT_NE(err_.find("/nowhere/at/all"), std::string::npos);
}

}  // namespace
}  // namespace hydrad
