// POST /tokenize and /detokenize.
#ifndef HYDRAD_SERVER_HTTP_TEXT_CALLS_H_
#define HYDRAD_SERVER_HTTP_TEXT_CALLS_H_

#include <absl/status/statusor.h>

#include <string_view>

#include "server/base/json.h"
#include "server/front/rooms.h"

namespace hydrad {

// {"prompt": text, "add_special_tokens": true, "parse_special": false} to {"tokens": ids, "token_strs":
// texts, "count", "max_model_len"}. The tokens are those of the adapter that "model" names, if it names one
// that the tenant may use, else the base model's. INVALID_FIELD; so does the next.
absl::StatusOr<Json> AnswerTokenize(const Rooms& rooms, const std::string& tenant,
                                    const std::string& base_model, std::string_view body);
// {"tokens": ids, "skip_special_tokens": true} to {"prompt": text}.
absl::StatusOr<Json> AnswerDetokenize(const Rooms& rooms, const std::string& tenant,
                                      const std::string& base_model, std::string_view body);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_TEXT_CALLS_H_
