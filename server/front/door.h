// The first stages of the intake: who calls, and whether the call may come in. Every front end asks this
// before it looks at a message.
#ifndef HYDRAD_SERVER_FRONT_DOOR_H_
#define HYDRAD_SERVER_FRONT_DOOR_H_

#include <string>

#include "server/admission/admission.h"
#include "server/front/caller.h"
#include "server/front/refusal.h"

namespace hydrad {

// Returns the tenant whose key it is. Refusals: INVALID_KEY; TOO_MANY_WRONG_KEYS, with when to try again.
OrRefusal<std::string> WhoCalls(const Admission& admission, const Caller& caller);

// Returns the right to run one request. Refusal: TENANT_LIMIT, with when to try again.
OrRefusal<Ticket> Admit(Admission& admission, const std::string& tenant);
// Counts a call that needs no scheduler against the tenant's rate, and returns the tenant. The refusal is
// Admit's.
OrRefusal<std::string> AdmitCall(Admission& admission, const std::string& tenant);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_DOOR_H_
