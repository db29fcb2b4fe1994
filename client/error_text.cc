#include "client/error_text.h"

#include <absl/strings/cord.h>
#include <fmt/core.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace hydrad {
namespace {

constexpr char kPayload[] = "type.googleapis.com/google.rpc.Status";

void Decode(const google::protobuf::Any& any, ErrorDetails& out) {
  if (google::rpc::ErrorInfo info; any.UnpackTo(&info)) {
    out.reason = info.reason();
    out.domain = info.domain();
    out.metadata = {info.metadata().begin(), info.metadata().end()};
  } else if (google::rpc::RetryInfo retry; any.UnpackTo(&retry)) {
    out.retry_after = retry.retry_delay().seconds() + retry.retry_delay().nanos() * 1e-9;
  } else if (google::rpc::BadRequest bad; any.UnpackTo(&bad)) {
    for (const auto& v : bad.field_violations()) out.field_violations.push_back({v.field(), v.description()});
  }
}

std::string ReasonLine(const ErrorDetails& details) {
  std::string notes = details.domain.empty() ? "" : "domain " + details.domain;
  for (const auto& [key, value] : details.metadata) {
    notes += fmt::format("{}{}={}", notes.empty() ? "" : ", ", key, value);
  }
  return fmt::format("\n  reason: {}{}", details.reason, notes.empty() ? "" : " (" + notes + ")");
}

}  // namespace

absl::Status StatusWithDetails(absl::StatusCode code, std::string_view message, std::string_view serialized) {
  absl::Status status(code, absl::string_view(message.data(), message.size()));
  if (!serialized.empty())
    status.SetPayload(kPayload, absl::Cord(absl::string_view(serialized.data(), serialized.size())));
  return status;
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  const auto payload = status.GetPayload(kPayload);
  google::rpc::Status rich;
  if (!payload || !rich.ParseFromString(std::string(*payload))) return details;
  for (const auto& any : rich.details()) Decode(any, details);
  return details;
}

std::string Explain(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  std::string text = CodeName(status.code());
  if (!status.message().empty()) text += ": " + std::string(status.message());
  if (!details.reason.empty()) text += ReasonLine(details);
  for (const auto& [field, description] : details.field_violations) {
    text += fmt::format("\n  field: {}: {}", field, description);
  }
  if (details.retry_after) text += fmt::format("\n  retry after: {:g} s", *details.retry_after);
  return text;
}

absl::Status WithNote(const absl::Status& status, std::string_view note) {
  const std::string text = std::string(status.message()).append(note);
  absl::Status noted(status.code(), text);
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { noted.SetPayload(type, payload); });
  return noted;
}

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

}  // namespace hydrad
