#include "server/front/connection_book.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using Verdict = ConnectionBook::Verdict;

// Descriptors are what the test says they are.
class ConnectionBookTest : public testing::Test {
 protected:
  void Come(int fd, const std::string& peer, uint64_t identity) {
    sockets_[fd] = identity;
    book_.Add(fd, peer);
  }
  FakeClock clock_;
  std::map<int, uint64_t> sockets_;
  ConnectionBook book_{{.total = 3, .per_peer = 2}, [this](int fd) { return sockets_[fd]; }, clock_};
};

TEST_F(ConnectionBookTest, OnePeerIsStoppedBeforeItTakesAllPlaces) {
  EXPECT_EQ(book_.MayCome("a"), Verdict::kWelcome);
  Come(5, "a", 50);
  Come(6, "a", 60);
  EXPECT_EQ(book_.MayCome("a"), Verdict::kPeerReached);
  EXPECT_EQ(book_.MayCome("b"), Verdict::kWelcome);
  Come(7, "b", 70);
  EXPECT_EQ(book_.MayCome("b"), Verdict::kTotalReached);
  EXPECT_EQ(book_.MayCome("c"), Verdict::kTotalReached);
  EXPECT_EQ(book_.open(), 3);
}

TEST_F(ConnectionBookTest, AClosedOneMakesRoomWithoutBeingTold) {
  Come(5, "a", 50);
  Come(6, "a", 60);
  sockets_[5] = 0;
  EXPECT_EQ(book_.MayCome("a"), Verdict::kWelcome);
  EXPECT_EQ(book_.open(), 1);
}

TEST_F(ConnectionBookTest, ANumberThatAnotherSocketHasIsNotTheConnection) {
  Come(5, "a", 50);
  sockets_[5] = 51;
  book_.Sweep();
  EXPECT_EQ(book_.open(), 0);
}

TEST_F(ConnectionBookTest, ANumberThatComesBackIsANewConnection) {
  Come(5, "a", 50);
  Come(5, "b", 51);
  EXPECT_EQ(book_.open(), 1);
  Come(6, "a", 60);
  Come(7, "a", 70);
  EXPECT_EQ(book_.MayCome("a"), Verdict::kTotalReached);
}

TEST_F(ConnectionBookTest, WhatIsNotCountedTakesNoPlace) {
  sockets_[9] = 90;
  book_.Add(9, "a", /*counted=*/false);
  EXPECT_EQ(book_.open(), 0);
  book_.Remove(9);
  book_.Remove(9);
  EXPECT_EQ(book_.open(), 0);
}

TEST(SocketIdentityTest, IsThatOfTheSocketNotOfTheNumber) {
  int first[2], second[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, first), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0);
  const uint64_t identity = SocketIdentity(first[0]);
  EXPECT_NE(identity, 0u);
  EXPECT_NE(SocketIdentity(second[0]), identity);
  ASSERT_EQ(dup2(second[0], first[0]), first[0]);
  EXPECT_EQ(SocketIdentity(first[0]), SocketIdentity(second[0]));
  for (const int fd : {first[0], first[1], second[0], second[1]}) close(fd);
  EXPECT_EQ(SocketIdentity(first[0]), 0u);
}

TEST(PeerOfTest, IsTheUserOnAUnixSocketAndNobodyWhenThereIsNone) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  EXPECT_EQ(PeerOf(ends[0]), "u" + std::to_string(getuid()));
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(PeerOf(ends[0]), "");
}

}  // namespace
}  // namespace hydrad
