#include "server/front/audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "server/base/status.h"
#include "server/front/error_details.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class AuditTest : public testing::Test {
 protected:
  void SetUp() override {
    unlink(path_.c_str());
    auto log = AuditLog::Open(path_, clock_);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  std::vector<nlohmann::json> Lines() const {
    log_->Flush();
    std::ifstream in(path_);
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  AuditEvent Refusal() const {
    return {.action = "refused",
            .actor = "acme",
            .peer = "ipv4:127.0.0.1:9",
            .adapter = "sql",
            .path = "",
            .status = WithReason(PermissionDenied("not allowed"), "ADAPTER_NOT_ALLOWED")};
  }

  const std::string path_ = testing::TempDir() + "/hydrad_audit_test.jsonl";
  FakeClock clock_;
  std::unique_ptr<AuditLog> log_;
};

TEST_F(AuditTest, OneObjectALine) {
  log_->Write({.action = "adapter.load",
               .actor = "admin",
               .peer = "unix:",
               .adapter = "sql",
               .path = "sql/v1",
               .status = absl::OkStatus()});
  log_->WriteRefusal(Refusal());
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["action"], "adapter.load");
  EXPECT_EQ(lines[0]["path"], "sql/v1");
  EXPECT_EQ(lines[0]["code"], "OK");
  EXPECT_FALSE(lines[0].contains("reason"));
  EXPECT_THAT(lines[0]["time"].get<std::string>(),
              testing::MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+[.][0-9]+Z"));
  EXPECT_EQ(lines[1]["actor"], "acme");
  EXPECT_EQ(lines[1]["code"], "PERMISSION_DENIED");
  EXPECT_EQ(lines[1]["reason"], "ADAPTER_NOT_ALLOWED");
  EXPECT_FALSE(lines[1].contains("path"));
}

TEST_F(AuditTest, WhatAStrangerWroteCannotBreakALine) {
  AuditEvent event = Refusal();
  event.adapter = "a\"}\n{\xff";
  log_->WriteRefusal(event);
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_EQ(Lines()[0]["adapter"], "a\"}\n{\uFFFD");
}

TEST_F(AuditTest, RefusalsCannotFillTheDisk) {
  for (int i = 0; i < 1000; ++i) log_->WriteRefusal(Refusal());
  EXPECT_EQ(Lines().size(), static_cast<size_t>(AuditLog::kRefusalsPerSecond));
  log_->Write(
      {.action = "adapter.load", .actor = "admin", .peer = "", .adapter = "x", .path = "", .status = {}});
  EXPECT_EQ(Lines().size(), AuditLog::kRefusalsPerSecond + 1u) << "an action is always written";
  clock_.Advance(std::chrono::seconds(1));
  log_->WriteRefusal(Refusal());
  EXPECT_EQ(Lines().back()["suppressed"], 1000 - AuditLog::kRefusalsPerSecond);
  log_->WriteRefusal(Refusal());
  EXPECT_FALSE(Lines().back().contains("suppressed"));
}

TEST_F(AuditTest, AppendsToWhatIsThereAndKeepsItPrivate) {
  log_->WriteRefusal(Refusal());
  auto again = AuditLog::Open(path_, clock_);
  ASSERT_TRUE(again.ok());
  (*again)->WriteRefusal(Refusal());
  (*again)->Flush();
  EXPECT_EQ(Lines().size(), 2u);
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(AuditTest, WhatIsQueuedIsWrittenAtTheEnd) {
  for (int i = 0; i < 3000; ++i) {
    log_->Write(
        {.action = "adapter.load", .actor = "admin", .peer = "", .adapter = "x", .path = "", .status = {}});
  }
  log_.reset();
  std::ifstream in(path_);
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(in), {}, '\n'), 3000);
}

TEST(AuditOpenTest, AFileThatCannotBeOpenedIsNamed) {
  FakeClock clock;
  const auto log = AuditLog::Open("/no/such/directory/audit", clock);
  EXPECT_THAT(std::string(log.status().message()), HasSubstr("/no/such/directory/audit"));
}

TEST(AuditOpenTest, WithoutAFileTheLogTakesTheLines) {
  FakeClock clock;
  auto log = AuditLog::Open("", clock);
  ASSERT_TRUE(log.ok());
  (*log)->Write({.action = "server.drain", .actor = "", .peer = "", .adapter = "", .path = "", .status = {}});
}

}  // namespace
}  // namespace hydrad
