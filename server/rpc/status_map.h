// The one place where an absl::Status becomes what gRPC sends.
#ifndef HYDRAD_SERVER_RPC_STATUS_MAP_H_
#define HYDRAD_SERVER_RPC_STATUS_MAP_H_

#include <absl/status/status.h>
#include <grpcpp/support/status.h>

namespace hydrad {

// The same code; the text cut to kMaxErrorText bytes between two UTF-8 sequences; and a serialized
// google.rpc.Status with the status's details (front/error_details.h) as google.rpc's ErrorInfo (of the
// domain "hydrad"), RetryInfo and BadRequest. Every error of ours has an ErrorInfo, so that it can be told
// from one made by a proxy on the way.
grpc::Status ToGrpc(const absl::Status& status);

// Errors travel in HTTP/2 trailers, which clients bound to 8 KiB in all.
inline constexpr size_t kMaxErrorText = 1024;
inline constexpr size_t kMaxErrorDetails = 4096;  // larger details are left out, the ErrorInfo excepted

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_STATUS_MAP_H_
