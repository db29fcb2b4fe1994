#include "server/base/listen_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

absl::StatusOr<ListenSocket> Open(const std::string& text) {
  return ListenSocket::Open(*ParseListenAddress(text));
}

// A path of its own for each test.
class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest() { std::filesystem::remove(path_); }
  ~UnixSocketTest() override { std::filesystem::remove(path_); }
  // Leaves a file as a process does that is killed.
  void LeaveStale() const {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::strncpy(where.sun_path, path_.c_str(), sizeof where.sun_path - 1);
    const FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
    ASSERT_EQ(listen(fd.get(), 1), 0);
  }
  const std::string path_ = testing::TempDir() + "/hydrad_listen_" + std::to_string(getpid()) + ".sock";
};

TEST(ListenSocketTest, TakesAPortThatNobodyElseThenGets) {
  const absl::StatusOr<ListenSocket> first = Open("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(first->address(), MatchesRegex("127.0.0.1:[1-9][0-9]*"));
  const absl::StatusOr<ListenSocket> second = Open(first->address());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(first->address()));
}

TEST(ListenSocketTest, AHostThatIsNotKnownIsNamed) {
  const absl::Status status = Open("256.256.256.256:0").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("256.256.256.256"));
}

TEST(ListenSocketTest, LocalhostIsOnePortOnAllItsAddresses) {
  const absl::StatusOr<ListenSocket> socket = Open("localhost:0");
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_THAT(socket->address(), MatchesRegex("localhost:[1-9][0-9]*"));
}

TEST_F(UnixSocketTest, OneThatIsServedIsNotStolen) {
  const absl::StatusOr<ListenSocket> first = Open("unix:" + path_);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = Open("unix:" + path_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr("another process serves it"));
  EXPECT_TRUE(std::filesystem::is_socket(path_));
}

TEST_F(UnixSocketTest, OneWhoseServerIsGoneIsReplaced) {
  LeaveStale();
  ASSERT_TRUE(std::filesystem::is_socket(path_));
  const absl::StatusOr<ListenSocket> socket = Open("unix:" + path_);
  EXPECT_TRUE(socket.ok()) << socket.status();
}

TEST_F(UnixSocketTest, AFileOfAnotherKindStays) {
  std::ofstream(path_) << "mine";
  EXPECT_EQ(Open("unix:" + path_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(UnixSocketTest, ItsFileGoesWithItButNotThatOfAnother) {
  { const absl::StatusOr<ListenSocket> socket = Open("unix:" + path_); }
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    const absl::StatusOr<ListenSocket> socket = Open("unix:" + path_);
    std::filesystem::remove(path_);
    LeaveStale();
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, APathThatIsTooLongIsSaidToBe) {
  const absl::Status status = Open("unix:/" + std::string(200, 'x')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("107"));
}

}  // namespace
}  // namespace hydrad
