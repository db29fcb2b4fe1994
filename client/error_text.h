// What a failed call says beyond its code: the details of the standard error model (google.rpc), decoded for
// people and for programs. Knows messages only, not gRPC.
#ifndef HYDRAD_CLIENT_ERROR_TEXT_H_
#define HYDRAD_CLIENT_ERROR_TEXT_H_

#include <absl/status/status.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hydrad {

// The parts of an error that a caller may act on. Whatever the server did not send is empty.
struct ErrorDetails {
  struct FieldViolation {
    std::string field, description;
  };
  std::string reason;  // UPPER_SNAKE_CASE, stable
  std::string domain;
  std::map<std::string, std::string> metadata;
  std::vector<FieldViolation> field_violations;
  std::optional<double> retry_after;  // seconds
};

// A status that carries `serialized`, the bytes of a google.rpc.Status (the trailer grpc-status-details-bin),
// beside its code and text. Bytes that are no such message do no harm: the status then has no details.
absl::Status StatusWithDetails(absl::StatusCode code, std::string_view message, std::string_view serialized);

// The details of a status made by StatusWithDetails; empty ones for any other status.
ErrorDetails DetailsOf(const absl::Status& status);

// Some lines for a terminal, without a newline at the end: code and text, then reason, bad fields and when to
// retry, each only where the server said so. For example:
//   INVALID_ARGUMENT: bad request
//     reason: BAD_FIELD (domain hydrad, field=sampling.top_p)
//     field: sampling.top_p: must lie in (0, 1]
//     retry after: 0.5 s
std::string Explain(const absl::Status& status);

// `status` with `note` after its text, and the same details.
absl::Status WithNote(const absl::Status& status, std::string_view note);

// "NOT_FOUND" and so on, as gRPC spells the codes.
std::string CodeName(absl::StatusCode code);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_ERROR_TEXT_H_
