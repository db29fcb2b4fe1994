// The one validator: every call of every front end passes here before anything else looks at it, so that
// every number, list and string that comes further has bounds.
#ifndef HYDRAD_SERVER_FRONT_VALIDATE_H_
#define HYDRAD_SERVER_FRONT_VALIDATE_H_

#include <absl/status/status.h>

#include <cstddef>

#include "server/front/admin_calls.h"
#include "server/front/generate_call.h"

namespace hydrad {

// The bounds that depend on the served model; the others stand in the .proto files.
struct RequestLimits {
  int vocab_size = 0;
  int max_context = 0;                // token positions of one sequence
  size_t max_prompt_bytes = 1 << 20;  // of a text prompt; bounds the time to tokenise it
};

inline constexpr int kDefaultMaxTokens = 4096;

// OK, or BadFields() with a violation for each field that is wrong, up to the first kMaxViolations.
absl::Status Validate(const GenerateCall& call, const RequestLimits& limits);
absl::Status Validate(const TokenizeCall& call, const RequestLimits& limits);
absl::Status Validate(const DetokenizeCall& call, const RequestLimits& limits);
absl::Status Validate(const LoadCall& call);
absl::Status Validate(const UnloadCall& call);
absl::Status Validate(const PinCall& call);
absl::Status Validate(const ApplyCall& call);
absl::Status Validate(const GetCall& call);
absl::Status Validate(const ListCall& call);

inline constexpr size_t kMaxViolations = 16;

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_VALIDATE_H_
