#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

using grpc::health::v1::HealthCheckResponse;
using InfoCommands = CommandTest;

TEST_F(InfoCommands, Tokenize) {
  ASSERT_EQ(Run({"tokenize", "a\n"}), 0);
  EXPECT_EQ(out_, "97\t\"a\"\n10\t\"\\n\"\n");
  ASSERT_EQ(Run({"tokenize", "--json", "-"}, "ab"), 0);
  EXPECT_EQ(Parsed(), Json({{"token_ids", {97, 98}}, {"tokens", {"a", "b"}}}));
}

TEST_F(InfoCommands, Models) {
  ASSERT_EQ(Run({"adapter", "load", "x", "--path", "x"}), 0);
  ASSERT_EQ(Run({"models"}), 0);
  EXPECT_EQ(out_, "ADAPTER  GEN  BASE  CHAT\n(base)   0    fake  yes\nx        1    fake  no\n");
  ASSERT_EQ(Run({"models", "--json"}), 0);
  EXPECT_EQ(Parsed()["models"][1], Json({{"name", "x"}, {"generation", 1}, {"chat", false}}));
}

TEST_F(InfoCommands, Status) {
  ASSERT_EQ(Run({"status", "--json"}), 0);
  const Json json = Parsed();
  EXPECT_EQ(json["kv_blocks_total"], 100);
  EXPECT_EQ(json["draining"], false);
  ASSERT_EQ(Run({"status"}), 0);
  EXPECT_NE(out_.find("\nbase model        fake\n"), std::string::npos) << out_;
  EXPECT_NE(out_.find("\nstate             serving\n"), std::string::npos) << out_;
  EXPECT_NE(out_.find(" ago)\n"), std::string::npos) << out_;
  EXPECT_EQ(out_.find("0x"), std::string::npos);
}

TEST_F(InfoCommands, HealthIsZeroOnlyWhenServing) {
  EXPECT_EQ(Run({"health"}), 0);
  EXPECT_EQ(out_, "SERVING\n");
  server_.SetHealth(HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Run({"health", "--service", "readiness"}), 1);
  EXPECT_EQ(out_, "NOT_SERVING\n");
  server_.SetHealth(HealthCheckResponse::UNKNOWN);
  EXPECT_EQ(Run({"health"}), 1);
  EXPECT_EQ(Run({"health", "--service", "unknown"}), 1);
  EXPECT_NE(err_.find("NOT_FOUND"), std::string::npos);
}

TEST_F(InfoCommands, RefusalExitsWithOne) {
  server_.FailWith(RichStatus(16, "no key", "NO_KEY"));
  for (const char* command : {"models", "status"}) {
    EXPECT_EQ(Run({command}), 1);
    EXPECT_NE(err_.find("UNAUTHENTICATED: no key"), std::string::npos) << err_;
  }
  EXPECT_EQ(Run({"tokenize", "a"}), 1);
}

}  // namespace
}  // namespace hydrad
