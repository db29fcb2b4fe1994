#include "server/metrics/exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/fakes/http_get.h"
#include "tests/fakes/raw_http2.h"

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

TEST(ExporterTest, ClientsThatAskSlowlyOrReadNothingHoldNobodyUp) {
  Metrics metrics;
  for (int i = 0; i < 500; ++i) metrics.AdapterEvicted(std::string(200, 'x') + std::to_string(i));
  auto exporter = Exporter::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(exporter.ok()) << exporter.status();
  std::vector<RawConnection> slow;
  for (int i = 0; i < 90; ++i) {
    RawConnection& client = slow.emplace_back((*exporter)->address());
    ASSERT_TRUE(client.connected());
    if (i % 3 == 0) continue;                                      // says nothing
    if (i % 3 == 1) client.Send("GET /metrics HTT");               // has not asked yet
    if (i % 3 == 2) client.Send("GET /metrics HTTP/1.1\r\n\r\n");  // does not read
  }
  EXPECT_THAT(HttpGet((*exporter)->address(), "/metrics"), HasSubstr("hydrad_requests_running"));
}

TEST(ExporterTest, OnlyAScrapeIsAnswered) {
  Metrics metrics;
  auto exporter = Exporter::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(exporter.ok()) << exporter.status();
  const std::string& address = (*exporter)->address();
  EXPECT_THAT(HttpGet(address, "/"), HasSubstr("404"));
  EXPECT_THAT(HttpGet(address, "/metrics?name=x"), HasSubstr("200 OK"));
  EXPECT_THAT(HttpGet(address, "a b c"), HasSubstr("400"));
  EXPECT_THAT(HttpGet(address, "/metrics?" + std::string(100'000, 'x')), testing::Not(HasSubstr("200 OK")));
}

TEST(ExporterTest, AnAddressWithoutAPortIsAnError) {
  Metrics metrics;
  EXPECT_EQ(Exporter::Start("localhost", metrics).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hydrad
