#include "server/metrics/exporter.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// The answer to one HTTP request on a loopback address HOST:PORT.
std::string Fetch(const std::string& address, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return "no connection";
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  if (write(fd, request.data(), request.size()) != static_cast<ssize_t>(request.size())) return "short write";
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) answer.append(buffer, n);
  close(fd);
  return answer;
}

TEST(ExporterTest, ServesTheMetricsOnThePortItReports) {
  Metrics metrics;
  metrics.SetRequests(3, 1);
  auto exporter = Exporter::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(exporter.ok()) << exporter.status();
  EXPECT_THAT((*exporter)->address(), StartsWith("127.0.0.1:"));
  const std::string answer = Fetch((*exporter)->address(), "/metrics");
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
