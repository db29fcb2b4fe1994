// hydrad.v1.Admin over gRPC.
#ifndef HYDRAD_SERVER_RPC_ADMIN_SERVICE_H_
#define HYDRAD_SERVER_RPC_ADMIN_SERVICE_H_

#include <chrono>
#include <memory>

#include "server/front/adapter_admin.h"
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
  std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
};

// `intake`, its rooms and `unread` must outlive the service; the rooms that hear of a finished load (metrics,
// audit, clock) must outlive the adapter store too. No method waits for a disk or a request to end.
std::unique_ptr<grpc::Service> MakeAdminService(Intake& intake, const AdapterAdmin& adapters,
                                                ServerFacts facts, UnreadOutput& unread);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ADMIN_SERVICE_H_
