#include "server/rpc/call_ref.h"

#include <grpc/grpc.h>

#include <string>

namespace hydrad {

CallRef::CallRef(grpc::CallbackServerContext& context) : call_(context.c_call()) { grpc_call_ref(call_); }

CallRef::CallRef(const CallRef& other) : call_(other.call_) { grpc_call_ref(call_); }

CallRef::~CallRef() { grpc_call_unref(call_); }

void CallRef::Cancel(const absl::Status& why) const {
  grpc_call_cancel_with_status(call_, static_cast<grpc_status_code>(why.code()),
                               std::string(why.message()).c_str(), nullptr);
}

}  // namespace hydrad
