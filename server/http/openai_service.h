// OpenAI's API, and what goes with it, on the rooms behind the intake.
#ifndef HYDRAD_SERVER_HTTP_OPENAI_SERVICE_H_
#define HYDRAD_SERVER_HTTP_OPENAI_SERVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "server/front/health.h"
#include "server/front/intake.h"
#include "server/front/text_pool.h"
#include "server/front/unread_output.h"
#include "server/http/http_service.h"

namespace hydrad {

struct OpenAiFacts {
  std::string version;
  std::string base_model;  // its name
  int64_t started = 0;     // when the daemon started, in seconds since 1970
};

// `intake`, its rooms, `unread` and `texts` must outlive the service and every reply that it was given;
// `health` may be called from any thread.
std::shared_ptr<HttpService> MakeOpenAiService(Intake& intake, UnreadOutput& unread, TextPool& texts,
                                               std::function<Health()> health, OpenAiFacts facts);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_OPENAI_SERVICE_H_
