// How the server is, for administrators.
#ifndef HYDRAD_SERVER_RPC_SERVER_STATUS_H_
#define HYDRAD_SERVER_RPC_SERVER_STATUS_H_

#include "hydrad/v1/admin.pb.h"
#include "server/front/intake.h"
#include "server/rpc/admin_service.h"  // ServerFacts

namespace hydrad {

v1::ServerStatus ServerStatusOf(const Intake& intake, const ServerFacts& facts);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_SERVER_STATUS_H_
