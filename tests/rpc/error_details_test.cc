#include "server/rpc/error_details.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

template <class Message>
Message Payload(const absl::Status& status, std::string_view type) {
  Message message;
  const auto payload = status.GetPayload(std::string(type));
  EXPECT_TRUE(payload.has_value()) << type;
  if (payload) {
    EXPECT_TRUE(message.ParseFromString(std::string(*payload)));
  }
  return message;
}

TEST(ErrorDetailsTest, AReasonIsAnErrorInfoOfOurDomain) {
  const absl::Status status =
      WithReason(NotFound("no such adapter"), "ADAPTER_NOT_FOUND", {{"adapter", "sql"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  const auto info = Payload<google::rpc::ErrorInfo>(status, kErrorInfoType);
  EXPECT_EQ(info.reason(), "ADAPTER_NOT_FOUND");
  EXPECT_EQ(info.domain(), "hydrad");
  EXPECT_EQ(info.metadata().at("adapter"), "sql");
  EXPECT_EQ(ReasonOf(status), "ADAPTER_NOT_FOUND");
}

TEST(ErrorDetailsTest, WithoutAReasonTheCodeIsTheReason) {
  EXPECT_EQ(ReasonOf(DataLoss("NaN")), "DATA_LOSS");
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "OK");
}

TEST(ErrorDetailsTest, ADelayKeepsItsNanoseconds) {
  const auto info = Payload<google::rpc::RetryInfo>(
      WithRetry(Unavailable("later"), std::chrono::milliseconds(2250)), kRetryInfoType);
  EXPECT_EQ(info.retry_delay().seconds(), 2);
  EXPECT_EQ(info.retry_delay().nanos(), 250'000'000);
}

TEST(ErrorDetailsTest, ADelayThatHasPassedIsNone) {
  const auto info =
      Payload<google::rpc::RetryInfo>(WithRetry(Unavailable("later"), Duration(-5)), kRetryInfoType);
  EXPECT_EQ(info.retry_delay().seconds(), 0);
  EXPECT_EQ(info.retry_delay().nanos(), 0);
}

TEST(ErrorDetailsTest, AnOkStatusStaysOne) {
  EXPECT_EQ(WithRetry(WithReason(absl::OkStatus(), "X"), std::chrono::seconds(1)), absl::OkStatus());
  EXPECT_EQ(BadFields({}), absl::OkStatus());
}

TEST(ErrorDetailsTest, BadFieldsListsEveryViolationAndTellsTheFirst) {
  const absl::Status status = BadFields({{"a.b", "must be 1"}, {"c[2]", "must be 2"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), "a.b must be 1 (and 1 more)");
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
  const auto bad = Payload<google::rpc::BadRequest>(status, kBadRequestType);
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(1).field(), "c[2]");
  EXPECT_EQ(bad.field_violations(1).description(), "must be 2");
}

}  // namespace
}  // namespace hydrad
