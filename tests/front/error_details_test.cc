#include "server/front/error_details.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/reason.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(ErrorDetailsTest, AReasonWithWhatItIsAbout) {
  const absl::Status status =
      WithReason(NotFound("no such adapter"), "ADAPTER_NOT_FOUND", {{"adapter", "sql"}, {"tenant", ""}});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  const ErrorDetails details = DetailsOf(status);
  EXPECT_EQ(details.reason, "ADAPTER_NOT_FOUND");
  EXPECT_THAT(details.metadata, ElementsAre(Pair("adapter", "sql"), Pair("tenant", "")));
  EXPECT_FALSE(details.retry);
  EXPECT_TRUE(details.violations.empty());
  EXPECT_EQ(ReasonOf(status), "ADAPTER_NOT_FOUND");
}

// What a client sent is told back, whatever it is.
TEST(ErrorDetailsTest, AnyBytesMayStandInThem) {
  const std::string odd("1:a\0b\0", 6);
  const ErrorDetails details =
      DetailsOf(WithReason(NotFound("none"), "NOT_FOUND", {{"adapter", odd}, {odd, ""}}));
  EXPECT_THAT(details.metadata, ElementsAre(Pair(odd, ""), Pair("adapter", odd)));
  const ErrorDetails fields = DetailsOf(BadFields({{odd, "is odd"}, {"text", odd}}));
  ASSERT_EQ(fields.violations.size(), 2u);
  EXPECT_EQ(fields.violations[0].field, odd);
  EXPECT_EQ(fields.violations[1].description, odd);
}

TEST(ErrorDetailsTest, ALaterReasonReplacesAnEarlierOne) {
  const absl::Status given = Because(ResourceExhausted("full"), "NO_ROOM");
  EXPECT_EQ(DetailsOf(given).reason, "NO_ROOM");
  const absl::Status first = WithReason(given, "FIRST", {{"adapter", "sql"}});
  const ErrorDetails details = DetailsOf(WithReason(first, "SECOND"));
  EXPECT_EQ(details.reason, "SECOND");
  EXPECT_TRUE(details.metadata.empty());
}

TEST(ErrorDetailsTest, WithoutAReasonTheCodeIsTheReason) {
  EXPECT_EQ(ReasonOf(DataLoss("NaN")), "DATA_LOSS");
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "OK");
}

TEST(ErrorDetailsTest, ADelayKeepsItsNanoseconds) {
  const Duration delay = std::chrono::milliseconds(2250);
  EXPECT_EQ(DetailsOf(WithRetry(Internal("later"), delay)).retry, delay);
}

TEST(ErrorDetailsTest, ADelayThatHasPassedIsNone) {
  EXPECT_EQ(DetailsOf(WithRetry(Internal("later"), Duration(-5))).retry, Duration(0));
}

TEST(ErrorDetailsTest, UnavailableIsAlwaysWorthTryingAgain) {
  EXPECT_EQ(DetailsOf(Unavailable("later")).retry, std::chrono::seconds(1));
  EXPECT_EQ(DetailsOf(WithRetry(Unavailable("later"), Duration(7))).retry, Duration(7));
}

TEST(ErrorDetailsTest, AnOkStatusStaysOne) {
  EXPECT_EQ(WithRetry(WithReason(absl::OkStatus(), "X", {{"a", "b"}}), std::chrono::seconds(1)),
            absl::OkStatus());
  EXPECT_EQ(BadFields({}), absl::OkStatus());
}

TEST(ErrorDetailsTest, BadFieldsListsEveryViolationAndTellsTheFirst) {
  const absl::Status status = BadFields({{"a.b", "must be 1"}, {"c[2]", "must be 2"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), "a.b must be 1 (and 1 more)");
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
  const ErrorDetails details = DetailsOf(status);
  ASSERT_EQ(details.violations.size(), 2u);
  EXPECT_EQ(details.violations[1].field, "c[2]");
  EXPECT_EQ(details.violations[1].description, "must be 2");
}

}  // namespace
}  // namespace hydrad
