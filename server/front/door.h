// Who calls, and may he: what every front end asks before it looks at a message.
#ifndef HYDRAD_SERVER_FRONT_DOOR_H_
#define HYDRAD_SERVER_FRONT_DOOR_H_

#include <string>

#include "server/admission/admission.h"
#include "server/front/caller.h"
#include "server/front/refusal.h"

namespace hydrad {

// The tenant whose key it is. INVALID_KEY, TOO_MANY_WRONG_KEYS (with when to try again).
OrRefusal<std::string> WhoCalls(const Admission& admission, const Caller& caller);

// The right to run one request. TENANT_LIMIT, with when to try again.
OrRefusal<Ticket> Admit(Admission& admission, const std::string& tenant);
// Likewise for a call that needs no scheduler: it counts against the tenant's rate. Returns the tenant.
OrRefusal<std::string> AdmitCall(Admission& admission, const std::string& tenant);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_DOOR_H_
