// The body of POST /v1/score, which asks how likely the model is to say each of some labels.
#ifndef HYDRAD_SERVER_HTTP_SCORE_CALL_H_
#define HYDRAD_SERVER_HTTP_SCORE_CALL_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "server/front/generate_call.h"
#include "server/http/completion_call.h"  // AnswerWishes

namespace hydrad {

struct ScoreCall {
  GenerateCall call;  // with labels, at least one
  AnswerWishes wishes;
};

// Reads `model` with the "hydrad" object; `prompt` (one text, or ids of tokens) or `messages` with what chat
// completions take to write them; and `labels`, a list of texts. Errors are ReadCompletionCall's: fields of
// endpoints of the same name elsewhere ("text_1", "query", "items") are none of ours.
absl::StatusOr<ScoreCall> ReadScoreCall(std::string_view body, const std::string& base_model);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_SCORE_CALL_H_
