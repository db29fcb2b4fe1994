// hydrad.v1.Inference over gRPC.
#ifndef HYDRAD_SERVER_RPC_INFERENCE_SERVICE_H_
#define HYDRAD_SERVER_RPC_INFERENCE_SERVICE_H_

#include <memory>
#include <string>

#include "server/rpc/intake.h"
#include "server/rpc/message_queue.h"

namespace grpc {
class Service;
}

namespace hydrad {

// `intake` and its rooms must outlive the service. `base_model` is the name that ListModels shows. No method
// waits: each runs on gRPC's own threads, and what comes later comes by a reactor.
std::unique_ptr<grpc::Service> MakeInferenceService(Intake& intake, std::string base_model,
                                                    QueueBounds bounds);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_INFERENCE_SERVICE_H_
