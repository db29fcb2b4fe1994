// A call of gRPC's that others than its reactor may end.
#ifndef HYDRAD_SERVER_RPC_CALL_REF_H_
#define HYDRAD_SERVER_RPC_CALL_REF_H_

#include <absl/status/status.h>
#include <grpcpp/server_context.h>

namespace hydrad {

// Keeps gRPC's object of the call for as long as it lives, so that ending the call is safe also when it has
// ended. Thread-safe.
class CallRef {
 public:
  explicit CallRef(grpc::CallbackServerContext& context);
  CallRef(const CallRef& other);
  CallRef& operator=(const CallRef&) = delete;
  ~CallRef();

  // Takes back what has not been sent and tells the client `why` instead. The reactor hears of it as of a
  // client that cancels.
  void Cancel(const absl::Status& why) const;

 private:
  grpc_call* const call_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_CALL_REF_H_
