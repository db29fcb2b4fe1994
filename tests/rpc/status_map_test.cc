#include "server/rpc/status_map.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/invalid_argument.h"
#include "server/base/reason.h"
#include "server/base/status.h"
#include "server/front/error_details.h"
#include "server/front/validate.h"
#include "server/rpc/from_proto.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(StatusMapTest, OkCarriesNothing) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).error_details().empty());
}

TEST(StatusMapTest, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "text"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "text");
    const google::rpc::Status details = Details(status);
    EXPECT_EQ(details.code(), code);
    EXPECT_EQ(details.message(), "text");
    google::rpc::ErrorInfo info;
    const bool passes = status.error_code() == grpc::StatusCode::UNAVAILABLE;
    ASSERT_EQ(details.details_size(), passes ? 2 : 1) << "an error of ours always has an ErrorInfo";
    const bool first = details.details(0).UnpackTo(&info);
    ASSERT_TRUE(first || details.details(1).UnpackTo(&info));
    EXPECT_EQ(info.domain(), "hydrad");
    EXPECT_EQ(info.reason(), absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  }
}

TEST(StatusMapTest, WhatMayPassSaysAfterHowLong) {
  const auto retry = [](const absl::Status& status) {
    const google::rpc::Status details = Details(ToGrpc(status));
    google::rpc::RetryInfo info;
    for (const auto& detail : details.details()) {
      if (detail.UnpackTo(&info)) return info;
    }
    ADD_FAILURE() << "no RetryInfo";
    return info;
  };
  EXPECT_GT(retry(Unavailable("later")).retry_delay().seconds(), 0);
  const absl::Status sooner = WithRetry(Unavailable("later"), std::chrono::milliseconds(5));
  EXPECT_EQ(retry(sooner).retry_delay().nanos(), 5'000'000) << "as who knows better has said";
}

TEST(StatusMapTest, AReasonGivenElsewhereIsTheErrorInfos) {
  const google::rpc::Status details = Details(ToGrpc(Because(ResourceExhausted("full"), "NO_ROOM")));
  google::rpc::ErrorInfo info;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "NO_ROOM");
}

TEST(StatusMapTest, AReasonIsAnErrorInfoOfOurDomain) {
  const google::rpc::Status details =
      Details(ToGrpc(WithReason(NotFound("no such adapter"), "ADAPTER_NOT_FOUND", {{"adapter", "sql"}})));
  google::rpc::ErrorInfo info;
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "ADAPTER_NOT_FOUND");
  EXPECT_EQ(info.domain(), "hydrad");
  EXPECT_EQ(info.metadata().at("adapter"), "sql");
}

TEST(StatusMapTest, ADelayKeepsItsNanoseconds) {
  const auto delay_of = [](Duration delay) {
    google::rpc::RetryInfo info;
    EXPECT_TRUE(Details(ToGrpc(WithRetry(Unavailable("later"), delay))).details(1).UnpackTo(&info));
    return info.retry_delay();
  };
  EXPECT_EQ(delay_of(std::chrono::milliseconds(2250)).seconds(), 2);
  EXPECT_EQ(delay_of(std::chrono::milliseconds(2250)).nanos(), 250'000'000);
  EXPECT_EQ(delay_of(Duration(-5)).seconds(), 0);
  EXPECT_EQ(delay_of(Duration(-5)).nanos(), 0);
}

TEST(StatusMapTest, BadFieldsAreABadRequest) {
  const google::rpc::Status details =
      Details(ToGrpc(BadFields({{"a.b", "must be 1"}, {"c[2]", "must be 2"}})));
  google::rpc::BadRequest bad;
  ASSERT_EQ(details.details_size(), 2);
  ASSERT_TRUE(details.details(1).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(1).field(), "c[2]");
  EXPECT_EQ(bad.field_violations(1).description(), "must be 2");
}

TEST(StatusMapTest, DetailsTravelAsAny) {
  const absl::Status status =
      WithRetry(WithReason(ResourceExhausted("full"), "QUEUE_FULL"), std::chrono::seconds(3));
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  int found = 0;
  const google::rpc::Status details = Details(ToGrpc(status));
  for (const auto& detail : details.details()) {
    found += detail.UnpackTo(&info) ? 1 : 0;
    found += detail.UnpackTo(&retry) ? 1 : 0;
  }
  EXPECT_EQ(found, 2);
  EXPECT_EQ(info.reason(), "QUEUE_FULL");
  EXPECT_EQ(retry.retry_delay().seconds(), 3);
}

TEST(StatusMapTest, ALongTextIsCutBetweenCharacters) {
  const std::string text = std::string(kMaxErrorText - 1, 'a') + "\u00e9 and so on";
  const grpc::Status status = ToGrpc(InvalidArgument("{}", text));
  EXPECT_EQ(status.error_message(), std::string(kMaxErrorText - 1, 'a'));
  EXPECT_TRUE(IsUtf8(status.error_message()));
}

TEST(StatusMapTest, DetailsTooLargeForTrailersAreLeftOut) {
  std::vector<FieldViolation> violations(100, {"some.field", std::string(200, 'x')});
  const google::rpc::Status details = Details(ToGrpc(BadFields(violations)));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(details.details(0).UnpackTo(&info));
}

TEST(StatusMapTest, TheLargestValidationErrorFitsTheTrailers) {
  v1::GenerateRequest request;
  request.set_text("x");
  for (int i = 0; i < 1000; ++i) (*request.mutable_sampling()->mutable_logit_bias())[100'000 + i] = 1e9f;
  const grpc::Status status = ToGrpc(Validate(FromProto(request), {.vocab_size = 10, .max_context = 10}));
  EXPECT_EQ(Details(status).details_size(), 2);
  EXPECT_LT(status.error_details().size() + status.error_message().size(), 8000u);
}

}  // namespace
}  // namespace hydrad
