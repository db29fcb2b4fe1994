// Administration over HTTP: adapters loaded and unloaded as operators of clusters send it, and
// hydrad.v1.Admin in JSON.
#ifndef HYDRAD_SERVER_HTTP_ADMIN_ENDPOINTS_H_
#define HYDRAD_SERVER_HTTP_ADMIN_ENDPOINTS_H_

#include <functional>
#include <memory>

#include "server/front/health.h"
#include "server/front/json_calls.h"
#include "server/front/unread_output.h"
#include "server/http/http_service.h"
#include "server/http/openai_service.h"  // OpenAiFacts

namespace hydrad {

// POST /v1/load_lora_adapter and /v1/unload_lora_adapter take {"lora_name", "lora_path"} and answer "Success:
// ..." in plain text; a load of a name that is there replaces it. POST /hydrad.v1.Admin/METHOD is a method of
// `calls`. For an administrator GET /v1/models lists every adapter. A page in a browser is refused, whatever
// site it is of.
//
// Alone (`rest` is null) there are /health and /ready beside. Otherwise `rest` has all other paths, and
// /v1/models where the key is no administrator's. REQUIRES: then `admins` is not open.
//
// `rooms`, `admins` (those of `adapters`) and `unread` must outlive the service and every reply that it was
// given; `health` may be called from any thread. Who may call, and what is written to the audit log, is
// AdapterAdmin's.
std::shared_ptr<HttpService> MakeAdminEndpoints(const Rooms& rooms, const Admission& admins,
                                                const AdapterAdmin& adapters, JsonCalls calls,
                                                UnreadOutput& unread, std::function<Health()> health,
                                                OpenAiFacts facts, std::shared_ptr<HttpService> rest);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_ADMIN_ENDPOINTS_H_
