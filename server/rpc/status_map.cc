#include "server/rpc/status_map.h"

#include <chrono>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/reason.h"
#include "server/rpc/error_details.h"

namespace hydrad {
namespace {

// UNAVAILABLE is always worth trying again; who does not know better says after how long.
constexpr Duration kRetryUnavailable = std::chrono::seconds(1);

std::string Cut(std::string text) {
  if (text.size() <= kMaxErrorText) return text;
  size_t end = kMaxErrorText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const bool has_info = status.GetPayload(std::string(kErrorInfoType)).has_value();
  absl::Status with_reason = has_info ? status : WithReason(status, ReasonOf(status));
  if (absl::IsUnavailable(status) && !status.GetPayload(std::string(kRetryInfoType))) {
    with_reason = WithRetry(with_reason, kRetryUnavailable);
  }
  google::rpc::Status out;
  out.set_code(static_cast<int>(status.code()));
  out.set_message(Cut(std::string(status.message())));
  size_t bytes = 0;
  with_reason.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    const std::string url(type);
    if (url == kReasonPayload) return;  // it stands in the ErrorInfo
    if (url != kErrorInfoType && bytes + payload.size() > kMaxErrorDetails) return;
    bytes += payload.size();
    auto* detail = out.add_details();
    detail->set_type_url(url);
    detail->set_value(std::string(payload));
  });
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), out.message(), out.SerializeAsString());
}

}  // namespace hydrad
