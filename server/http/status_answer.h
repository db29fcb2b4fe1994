// GET /hydrad/status: how things stand, for the page and for whoever else looks every second.
#ifndef HYDRAD_SERVER_HTTP_STATUS_ANSWER_H_
#define HYDRAD_SERVER_HTTP_STATUS_ANSWER_H_

#include <string>

#include "server/base/json.h"
#include "server/front/intake.h"

namespace hydrad {

// What `tenant` may know: its own requests, and the models that it may use, each with the tier of its weights
// and the number of the tenant's requests that are on it. Where there are no tenants, and so only one
// caller, also the sequences and blocks of the whole daemon.
Json StatusObject(const Intake& intake, const std::string& tenant, const std::string& base_model);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_STATUS_ANSWER_H_
