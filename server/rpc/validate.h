// The one validator: every request of every front end passes here before anything else looks at it, so that
// every number, list and string that comes further has bounds.
#ifndef HYDRAD_SERVER_RPC_VALIDATE_H_
#define HYDRAD_SERVER_RPC_VALIDATE_H_

#include <cstddef>
#include <string_view>

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "server/base/status.h"

namespace hydrad {

// The bounds that depend on the served model; the others stand in the .proto files.
struct RequestLimits {
  int vocab_size = 0;
  int max_context = 0;                // token positions of one sequence
  size_t max_prompt_bytes = 1 << 20;  // of a text prompt; bounds the time to tokenise it
};

inline constexpr int kDefaultMaxTokens = 4096;

// OK, or BadFields() with a violation for each field that is wrong, up to the first kMaxViolations.
absl::Status Validate(const v1::GenerateRequest& request, const RequestLimits& limits);
absl::Status Validate(const v1::TokenizeRequest& request, const RequestLimits& limits);
absl::Status Validate(const v1::DetokenizeRequest& request, const RequestLimits& limits);
absl::Status Validate(const v1::LoadAdapterRequest& request);
absl::Status Validate(const v1::GetAdapterRequest& request);
absl::Status Validate(const v1::UnloadAdapterRequest& request);
absl::Status Validate(const v1::PinAdapterRequest& request);
absl::Status Validate(const v1::UnpinAdapterRequest& request);
absl::Status Validate(const v1::ApplyAdaptersRequest& request);
absl::Status Validate(const v1::ListAdaptersRequest& request);
// Good whatever they hold.
inline absl::Status Validate(const v1::WatchAdaptersRequest&) { return absl::OkStatus(); }
inline absl::Status Validate(const v1::GetServerStatusRequest&) { return absl::OkStatus(); }

inline constexpr size_t kMaxViolations = 16;

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_VALIDATE_H_
