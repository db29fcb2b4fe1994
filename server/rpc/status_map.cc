#include "server/rpc/status_map.h"

#include <chrono>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

constexpr char kErrorDomain[] = "hydrad";

std::string Cut(std::string text) {
  if (text.size() <= kMaxErrorText) return text;
  size_t end = kMaxErrorText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

google::rpc::ErrorInfo ErrorInfoOf(const ErrorDetails& details) {
  google::rpc::ErrorInfo info;
  info.set_reason(details.reason);
  info.set_domain(kErrorDomain);
  info.mutable_metadata()->insert(details.metadata.begin(), details.metadata.end());
  return info;
}

google::rpc::RetryInfo RetryInfoOf(Duration delay) {
  constexpr int64_t kNanos = 1'000'000'000;
  const int64_t nanos = std::chrono::nanoseconds(delay).count();
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(nanos / kNanos);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % kNanos));
  return info;
}

google::rpc::BadRequest BadRequestOf(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest bad;
  for (const FieldViolation& violation : violations) {
    auto* out = bad.add_field_violations();
    out->set_field(violation.field);
    out->set_description(violation.description);
  }
  return bad;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const ErrorDetails details = DetailsOf(status);
  google::rpc::Status out;
  out.set_code(static_cast<int>(status.code()));
  out.set_message(Cut(std::string(status.message())));
  const google::rpc::ErrorInfo info = ErrorInfoOf(details);
  out.add_details()->PackFrom(info);
  size_t bytes = info.ByteSizeLong();
  const auto add = [&](const google::protobuf::Message& detail) {
    if (bytes + detail.ByteSizeLong() > kMaxErrorDetails) return;
    bytes += detail.ByteSizeLong();
    out.add_details()->PackFrom(detail);
  };
  if (details.retry) add(RetryInfoOf(*details.retry));
  if (!details.violations.empty()) add(BadRequestOf(details.violations));
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), out.message(), out.SerializeAsString());
}

}  // namespace hydrad
