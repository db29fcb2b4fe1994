#include "server/metrics/exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/fakes/http_get.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(ExporterTest, ServesTheMetricsOnThePortItReports) {
  Metrics metrics;
  metrics.SetRequests(3, 1);
  auto exporter = Exporter::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(exporter.ok()) << exporter.status();
  EXPECT_THAT((*exporter)->address(), StartsWith("127.0.0.1:"));
  const std::string answer = HttpGet((*exporter)->address(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("hydrad_requests_running 3"));
}

TEST(ExporterTest, ATakenPortIsAnErrorThatNamesIt) {
  Metrics metrics;
  auto first = Exporter::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Exporter::Start((*first)->address(), metrics);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr((*first)->address()));
}

TEST(ExporterTest, AnAddressWithoutAPortIsAnError) {
  Metrics metrics;
  EXPECT_EQ(Exporter::Start("localhost", metrics).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hydrad
