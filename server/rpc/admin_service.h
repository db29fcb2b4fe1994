// hydrad.v1.Admin over gRPC.
#ifndef HYDRAD_SERVER_RPC_ADMIN_SERVICE_H_
#define HYDRAD_SERVER_RPC_ADMIN_SERVICE_H_

#include <memory>

#include "server/front/intake.h"
#include "server/front/unread_output.h"

namespace grpc {
class Service;
}

namespace hydrad {

// Facts that do not change while the daemon runs.
struct ServerFacts {
  std::string version;
  std::string base_model;
  std::string device;
  std::string weight_type;
};

// `intake`, its rooms, `admins` and `unread` must outlive the service; the rooms that hear of a finished load
// (metrics, audit, clock) must outlive the adapter store too. `admins` tells who may call it (see
// AdapterAdmin). No method waits for a disk or a request to end.
std::unique_ptr<grpc::Service> MakeAdminService(Intake& intake, const Admission& admins, ServerFacts facts,
                                                UnreadOutput& unread);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ADMIN_SERVICE_H_
