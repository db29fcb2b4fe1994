#include "server/base/inbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace hydrad {
namespace {

constexpr Duration kForever = std::chrono::hours(1);
using Messages = Inbox<std::unique_ptr<int>>;

TEST(Inbox, DeliversInOrder) {
  Messages inbox(3);
  for (int i = 0; i < 3; ++i) {
    auto message = std::make_unique<int>(i);
    EXPECT_EQ(inbox.Send(message), Messages::Sent::kOk);
    EXPECT_EQ(message, nullptr);
  }
  const auto all = inbox.ReceiveAll(kForever);
  ASSERT_EQ(all.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*all[i], i);
  EXPECT_EQ(inbox.size(), 0u);
}

TEST(Inbox, AFullInboxRefusesAndLeavesTheMessage) {
  Messages inbox(1);
  auto first = std::make_unique<int>(1), second = std::make_unique<int>(2);
  EXPECT_EQ(inbox.Send(first), Messages::Sent::kOk);
  EXPECT_EQ(inbox.Send(second), Messages::Sent::kFull);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(*second, 2);
  EXPECT_EQ(inbox.SendAlways(std::move(second)), Messages::Sent::kOk);
  EXPECT_EQ(inbox.ReceiveAll(kForever).size(), 2u);
}

TEST(Inbox, AClosedInboxStillDelivers) {
  Messages inbox(2);
  auto message = std::make_unique<int>(7), late = std::make_unique<int>(8);
  EXPECT_EQ(inbox.Send(message), Messages::Sent::kOk);
  inbox.Close();
  EXPECT_EQ(inbox.Send(late), Messages::Sent::kClosed);
  EXPECT_EQ(inbox.ReceiveAll(kForever).size(), 1u);
  EXPECT_EQ(inbox.ReceiveAll(kForever).size(), 0u);  // closed: does not wait
}

TEST(Inbox, ReceiveWakesForAMessageOfAnotherThread) {
  Messages inbox(1);
  std::thread sender([&] { inbox.SendAlways(std::make_unique<int>(5)); });
  const auto all = inbox.ReceiveAll(kForever);
  sender.join();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(*all[0], 5);
}

TEST(Inbox, ReceiveGivesUpAfterTheLimit) {
  Messages inbox(1);
  EXPECT_TRUE(inbox.ReceiveAll(std::chrono::milliseconds(1)).empty());
}

}  // namespace
}  // namespace hydrad
