#include "client/error_text.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_server.h"

namespace hydrad {
namespace {

absl::Status FromWire(const google::rpc::Status& status) {
  return StatusWithDetails(static_cast<absl::StatusCode>(status.code()), status.message(),
                           status.SerializeAsString());
}

TEST(ErrorText, DecodesEveryDetail) {
  const auto details = DetailsOf(FromWire(RichStatus(3, "bad request", "BAD_FIELD", "sampling.top_p", 1.25)));
  EXPECT_EQ(details.reason, "BAD_FIELD");
  EXPECT_EQ(details.domain, "hydrad");
  ASSERT_EQ(details.field_violations.size(), 1);
  EXPECT_EQ(details.field_violations[0].field, "sampling.top_p");
  EXPECT_EQ(details.field_violations[0].description, "is not right");
  ASSERT_TRUE(details.retry_after.has_value());
  EXPECT_DOUBLE_EQ(*details.retry_after, 1.25);
}

TEST(ErrorText, ExplainsOnSomeLines) {
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  info.set_domain("hydrad");
  (*info.mutable_metadata())["limit"] = "8";
  google::rpc::Status rich;
  rich.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  rich.add_details()->PackFrom(retry);
  const auto status =
      StatusWithDetails(absl::StatusCode::kResourceExhausted, "queue is full", rich.SerializeAsString());
  EXPECT_EQ(Explain(status),
            "RESOURCE_EXHAUSTED: queue is full\n"
            "  reason: QUEUE_FULL (domain hydrad, limit=8)\n"
            "  retry after: 0.5 s");
  EXPECT_EQ(Explain(FromWire(RichStatus(3, "no", "BAD_FIELD", "n"))),
            "INVALID_ARGUMENT: no\n  reason: BAD_FIELD (domain hydrad)\n  field: n: is not right");
}

TEST(ErrorText, PlainStatusHasNoDetails) {
  const absl::Status status = StatusWithDetails(absl::StatusCode::kNotFound, "gone", "");
  EXPECT_TRUE(DetailsOf(status).reason.empty());
  EXPECT_FALSE(DetailsOf(status).retry_after.has_value());
  EXPECT_EQ(Explain(status), "NOT_FOUND: gone");
  EXPECT_EQ(Explain(absl::Status(absl::StatusCode::kCancelled, "")), "CANCELLED");
}

TEST(ErrorText, BytesThatAreNoMessageAreIgnored) {
  const absl::Status status = StatusWithDetails(absl::StatusCode::kInternal, "odd", "\xff\xff\xff\xff");
  EXPECT_EQ(Explain(status), "INTERNAL: odd");
}

TEST(ErrorText, UnknownDetailsAreSkipped) {
  google::rpc::Status rich = RichStatus(5, "gone", "ADAPTER_NOT_FOUND");
  rich.add_details()->set_type_url("type.googleapis.com/google.rpc.Haiku");
  rich.mutable_details(1)->set_value("\x01\x02");
  EXPECT_EQ(DetailsOf(FromWire(rich)).reason, "ADAPTER_NOT_FOUND");
}

}  // namespace
}  // namespace hydrad
