// hydrad.v1.Inference over gRPC.
#ifndef HYDRAD_SERVER_RPC_INFERENCE_SERVICE_H_
#define HYDRAD_SERVER_RPC_INFERENCE_SERVICE_H_

#include <memory>
#include <string>

#include "server/front/intake.h"
#include "server/front/text_pool.h"
#include "server/front/unread_output.h"

namespace grpc {
class Service;
}

namespace hydrad {

// All must outlive the service. `base_model` is the name that ListModels shows. No method waits, nor works
// for long: each runs on gRPC's own threads, long messages are dealt with on `texts`, and what comes later
// comes by a reactor.
std::unique_ptr<grpc::Service> MakeInferenceService(Intake& intake, std::string base_model,
                                                    UnreadOutput& unread, TextPool& texts);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_INFERENCE_SERVICE_H_
