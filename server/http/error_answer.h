// The one place where an absl::Status becomes what HTTP sends: a status code and OpenAI's error object.
#ifndef HYDRAD_SERVER_HTTP_ERROR_ANSWER_H_
#define HYDRAD_SERVER_HTTP_ERROR_ANSWER_H_

#include <absl/status/status.h>

#include <string>
#include <string_view>

#include "server/http/http_message.h"

namespace hydrad {

// Fields that have a name of their own in each body.
struct BodyNames {
  std::string prompt = "prompt";         // "messages" of chat
  std::string form = "response_format";  // or another that asks for a form
};

// What a field that is named by its path in hydrad.v1 is called in the body of a request: "sampling.top_p" is
// "top_p", "adapters[0].weight" is "hydrad.adapters[0].weight".
std::string ParamOf(std::string_view field, const BodyNames& names = {});

// {"error": {"message", "type", "param", "code"}} with the status code that fits, Retry-After where trying
// again makes sense, and WWW-Authenticate where a key is missing. `code` is the status's reason in lower
// case, but for those that clients know from OpenAI: invalid_api_key, model_not_found, rate_limit_exceeded,
// context_length_exceeded.
HttpAnswer ErrorAnswer(const absl::Status& status, const BodyNames& names = {});

// INVALID_ARGUMENT (INVALID_FIELD) of a field of the body, named as the client names it.
absl::Status BadParam(std::string_view param, std::string_view description);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_ERROR_ANSWER_H_
