// hydrad.v1.Admin on JSON, as Protobuf writes its messages, with the names of fields as they are in the
// proto.
#ifndef HYDRAD_SERVER_RPC_ADMIN_JSON_H_
#define HYDRAD_SERVER_RPC_ADMIN_JSON_H_

#include "server/front/json_calls.h"
#include "server/rpc/admin_service.h"  // ServerFacts

namespace hydrad {

// Every method but WatchAdapters, which streams. A message that is none is INVALID_ARGUMENT
// (MALFORMED_MESSAGE); other errors are the method's own. `intake` and its rooms must outlive the
// calls; see AdapterAdmin.
JsonCalls AdminJsonCalls(const Intake& intake, const AdapterAdmin& adapters, const ServerFacts& facts);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ADMIN_JSON_H_
