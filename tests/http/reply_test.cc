#include "server/http/reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"
#include "tests/fakes/tenant.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Next = Reply::Queue::Next;

class ReplyTest : public testing::Test {
 protected:
  std::shared_ptr<Reply> Make(Reply::Traits traits = {}) {
    if (traits.request_id.empty()) traits.request_id = "r-1";
    return std::make_shared<Reply>(
        std::move(traits), [this] { ++wakes_; }, [this] { ++cuts_; });
  }
  // All that there is to write now.
  std::string Take(Reply& reply) {
    std::string bytes;
    last_ = reply.Take(&bytes);
    reply.Written();
    return bytes;
  }
  static std::string Body(const std::string& bytes) { return bytes.substr(bytes.find("\r\n\r\n") + 4); }

  int wakes_ = 0, cuts_ = 0;
  Next last_{};
};

TEST_F(ReplyTest, AWholeAnswer) {
  const auto reply = Make();
  std::string nothing;
  EXPECT_EQ(reply->Take(&nothing), Next::kNothing);
  reply->AddHeader("x-ratelimit-limit-requests", "5");
  reply->Send({.status = 429, .body = "{}", .headers = {{"Retry-After", "1"}}});
  EXPECT_EQ(wakes_, 1);
  const std::string bytes = Take(*reply);
  EXPECT_EQ(last_, Next::kLast);
  EXPECT_THAT(bytes, StartsWith("HTTP/1.1 429 Too Many Requests\r\n"));
  for (const char* field :
       {"\r\nContent-Length: 2\r\n", "\r\nContent-Type: application/json\r\n", "\r\nx-request-id: r-1\r\n",
        "\r\nRetry-After: 1\r\n", "\r\nx-ratelimit-limit-requests: 5\r\n", "\r\nDate: "}) {
    EXPECT_THAT(bytes, HasSubstr(field));
  }
  EXPECT_THAT(bytes, Not(HasSubstr("Connection")));
  EXPECT_EQ(Body(bytes), "{}");
}

TEST_F(ReplyTest, WhatTheClientHasIsSaidWithoutALength) {
  const auto reply = Make();
  reply->Send({.status = 304, .headers = {{"ETag", "\"x\""}}});
  const std::string bytes = Take(*reply);
  EXPECT_THAT(bytes, StartsWith("HTTP/1.1 304 Not Modified\r\n"));
  EXPECT_THAT(bytes, HasSubstr("\r\nETag: \"x\"\r\n"));
  for (const char* field : {"Content-Length", "Content-Type", "Transfer-Encoding"})
    EXPECT_THAT(bytes, Not(HasSubstr(field)));
  EXPECT_EQ(Body(bytes), "");
}

TEST_F(ReplyTest, OnlyTheFirstEndCounts) {
  const auto reply = Make();
  reply->Send({.status = 200, .body = "one"});
  reply->Send({.status = 500, .body = "two"});
  reply->Fail({.status = 500, .body = "three"});
  EXPECT_FALSE(reply->Event("four"));
  EXPECT_EQ(Body(Take(*reply)), "one");
}

TEST_F(ReplyTest, EventsComeInChunks) {
  const auto reply = Make();
  EXPECT_TRUE(reply->Event("{\"a\":1}"));
  const std::string first = Take(*reply);
  EXPECT_EQ(last_, Next::kMessage);
  EXPECT_THAT(first, HasSubstr("\r\nContent-Type: text/event-stream\r\n"));
  EXPECT_THAT(first, HasSubstr("\r\nTransfer-Encoding: chunked\r\n"));
  EXPECT_THAT(first, Not(HasSubstr("Content-Length")));
  EXPECT_EQ(Body(first), "f\r\ndata: {\"a\":1}\n\n\r\n");
  reply->Event("b");
  reply->Event("[DONE]");
  reply->EndEvents();
  EXPECT_EQ(Take(*reply), "9\r\ndata: b\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n") << "in one write";
  EXPECT_EQ(last_, Next::kLast);
}

TEST_F(ReplyTest, AClientOfHttp10GetsEventsUntilTheEnd) {
  const auto reply = Make({.http10 = true, .keep_alive = false});
  reply->Event("a");
  reply->EndEvents();
  const std::string bytes = Take(*reply);
  EXPECT_THAT(bytes, Not(HasSubstr("chunked")));
  EXPECT_THAT(bytes, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_EQ(Body(bytes), "data: a\n\n");
}

TEST_F(ReplyTest, AFailureIsTheAnswerOrTheLastEvent) {
  const HttpAnswer error = {.status = 500, .body = "{\"error\":{}}"};
  const auto before = Make();
  before->Fail(error);
  EXPECT_THAT(Take(*before), StartsWith("HTTP/1.1 500 "));
  const auto amid = Make();
  amid->Event("a");
  Take(*amid);
  amid->Fail(error);
  EXPECT_EQ(Take(*amid), "14\r\ndata: {\"error\":{}}\n\n\r\n0\r\n\r\n");
  EXPECT_EQ(last_, Next::kLast);
}

TEST_F(ReplyTest, AHeadRequestGetsNoBody) {
  const auto reply = Make({.head_only = true});
  reply->Send({.status = 200, .body = "four"});
  const std::string bytes = Take(*reply);
  EXPECT_THAT(bytes, HasSubstr("\r\nContent-Length: 4\r\n"));
  EXPECT_EQ(Body(bytes), "");
}

TEST_F(ReplyTest, AClientThatGoesIsToldOnceAndOnlyBeforeTheEnd) {
  int gone = 0;
  const auto reply = Make();
  reply->OnGone([&] { ++gone; });
  reply->Gone();
  reply->Gone();
  EXPECT_EQ(gone, 1);
  EXPECT_FALSE(reply->Event("a"));
  reply->OnGone([&] { ++gone; });
  EXPECT_EQ(gone, 2) << "whoever comes late hears it at once";
  const auto answered = Make();
  answered->OnGone([&] { ++gone; });
  answered->Send({});
  Take(*answered);
  answered->Done();
  answered->Gone();
  EXPECT_EQ(gone, 2);
}

TEST_F(ReplyTest, ATicketIsGivenBackWithTheLastBytes) {
  FakeClock clock;
  TenantConfig tenant = Tenant("acme", "k");
  tenant.max_concurrent = 1;
  Admission admission({tenant}, clock);
  Duration wait{};
  const auto reply = Make();
  reply->Keep(*admission.Admit("acme", &wait));
  reply->Event("a");
  Take(*reply);
  EXPECT_FALSE(admission.Admit("acme", &wait).ok());
  reply->EndEvents();
  Take(*reply);
  EXPECT_TRUE(admission.Admit("acme", &wait).ok());
}

TEST_F(ReplyTest, AReaderThatDoesNotReadLosesItsAnswerAndItsConnection) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(UnreadBounds{.stream_bytes = 4000}, clock);
  const auto reply = Make();
  reply->Charge(*unread, "acme");
  while (reply->Event(std::string(500, 'x'))) ASSERT_LT(unread->bytes(), 8000u);
  EXPECT_EQ(unread->bytes(), 0u) << "dropped at once";
  reply->Fail({.status = 429});
  std::string bytes;
  EXPECT_EQ(reply->Take(&bytes), Next::kEnd);
}

TEST_F(ReplyTest, WhatIsBeingWrittenIsChargedUntilItIsWritten) {
  FakeClock clock;
  const auto unread = std::make_shared<UnreadOutput>(
      UnreadBounds{.stream_bytes = 1 << 20, .stall = std::chrono::seconds(5)}, clock);
  const auto reply = Make();
  reply->Charge(*unread, "acme");
  reply->Event(std::string(500, 'x'));
  std::string bytes;
  EXPECT_EQ(reply->Take(&bytes), Next::kMessage);
  EXPECT_GT(unread->bytes(), 500u);
  clock.Advance(std::chrono::seconds(6));
  unread->Sweep();
  EXPECT_EQ(cuts_, 1) << "the connection is ended";
  reply->Gone();
  EXPECT_EQ(unread->bytes(), 0u);
}

}  // namespace
}  // namespace hydrad
