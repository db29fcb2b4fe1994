#include "server/base/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::HasSubstr;

struct Case {
  const char* text;
  const char* host;  // nullptr: not an address
  int port;
  bool local;
};

class ListenAddressTest : public testing::TestWithParam<Case> {};

TEST_P(ListenAddressTest, Parses) {
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(GetParam().text);
  if (GetParam().host == nullptr) {
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(address.status().message()), HasSubstr(GetParam().text));
    return;
  }
  ASSERT_TRUE(address.ok()) << address.status();
  EXPECT_EQ(address->host, GetParam().host);
  EXPECT_EQ(address->port, GetParam().port);
  EXPECT_EQ(IsLocal(*address), GetParam().local);
  EXPECT_EQ(CheckExposure(*address, false).ok(), GetParam().local);
  EXPECT_TRUE(CheckExposure(*address, true).ok());
}

INSTANTIATE_TEST_SUITE_P(
    Table, ListenAddressTest,
    testing::Values(Case{"127.0.0.1:8471", "127.0.0.1", 8471, true},
                    Case{"127.8.8.8:0", "127.8.8.8", 0, true}, Case{"localhost:1", "localhost", 1, true},
                    Case{"[::1]:65535", "::1", 65535, true}, Case{"unix:/run/hydrad.sock", "", 0, true},
                    Case{"0.0.0.0:1", "0.0.0.0", 1, false}, Case{"[::]:1", "::", 1, false},
                    Case{"10.0.0.1:1", "10.0.0.1", 1, false},
                    Case{"localhost.example.org:1", "localhost.example.org", 1, false},
                    Case{"127.0.0.1.example.org:1", "127.0.0.1.example.org", 1, false},
                    Case{"", nullptr, 0, false}, Case{"127.0.0.1", nullptr, 0, false},
                    Case{"127.0.0.1:", nullptr, 0, false}, Case{":80", nullptr, 0, false},
                    Case{"127.0.0.1:65536", nullptr, 0, false}, Case{"127.0.0.1:-1", nullptr, 0, false},
                    Case{"127.0.0.1:80x", nullptr, 0, false}, Case{"::1:80", nullptr, 0, false},
                    Case{"unix:", nullptr, 0, false}));

TEST(CheckExposureTest, SaysWhatToDo) {
  const absl::Status status = CheckExposure(*ParseListenAddress("0.0.0.0:8471"), false);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--allow-plaintext-public"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.0.0.0:8471"));
}

TEST(BoundTextTest, HasTheBoundPort) {
  EXPECT_EQ(BoundText(*ParseListenAddress("127.0.0.1:0"), 4242), "127.0.0.1:4242");
  EXPECT_EQ(BoundText(*ParseListenAddress("[::1]:0"), 4242), "[::1]:4242");
  EXPECT_EQ(BoundText(*ParseListenAddress("unix:/tmp/s"), 1), "unix:/tmp/s");
}

}  // namespace
}  // namespace hydrad
