#include "server/rpc/error_details.h"

#include <optional>

#include "google/rpc/error_details.pb.h"
#include "server/base/reason.h"

namespace hydrad {
namespace {

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason,
                        const std::map<std::string, std::string>& metadata) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  info.mutable_metadata()->insert(metadata.begin(), metadata.end());
  status.SetPayload(View(kErrorInfoType), absl::Cord(info.SerializeAsString()));
  return status;
}

absl::Status WithRetry(absl::Status status, Duration delay) {
  constexpr int64_t kNanos = 1'000'000'000;
  const int64_t nanos = delay.count() < 0 ? 0 : delay.count();
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(nanos / kNanos);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % kNanos));
  status.SetPayload(View(kRetryInfoType), absl::Cord(info.SerializeAsString()));
  return status;
}

absl::Status BadFields(const std::vector<FieldViolation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  google::rpc::BadRequest bad;
  for (const FieldViolation& violation : violations) {
    auto* out = bad.add_field_violations();
    out->set_field(violation.field);
    out->set_description(violation.description);
  }
  std::string text = fmt::format("{} {}", violations[0].field, violations[0].description);
  if (violations.size() > 1) text += fmt::format(" (and {} more)", violations.size() - 1);
  absl::Status status = WithReason(InvalidArgument("{}", text), "INVALID_FIELD");
  status.SetPayload(View(kBadRequestType), absl::Cord(bad.SerializeAsString()));
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(View(kErrorInfoType))) {
    google::rpc::ErrorInfo info;
    if (info.ParseFromString(std::string(*payload))) return info.reason();
  }
  if (const auto given = ReasonGiven(status)) return *given;
  return absl::StatusCodeToString(status.code());
}

}  // namespace hydrad
