#include "server/http/text_calls.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/front/answers.h"
#include "server/http/body_reader.h"
#include "server/http/completion_call.h"  // ReadBody

namespace hydrad {

absl::StatusOr<Json> AnswerTokenize(const Rooms& rooms, std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  TokenizeCall call;
  call.text = reader.Text("prompt").value_or("");
  call.no_special = !reader.Bool("add_special_tokens").value_or(true);
  call.parse_special = reader.Bool("parse_special").value_or(false);
  reader.Ignore({"model"});
  RETURN_IF_ERROR(reader.Finish());
  ASSIGN_OR_RETURN(Tokenized tokenized, Tokenize(rooms, call));
  return Json{{"count", tokenized.ids.size()},
              {"max_model_len", rooms.limits.max_context},
              {"tokens", std::move(tokenized.ids)},
              {"token_strs", std::move(tokenized.tokens)}};
}

absl::StatusOr<Json> AnswerDetokenize(const Rooms& rooms, std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  DetokenizeCall call;
  call.token_ids = reader.Ids("tokens");
  call.keep_special_tokens = !reader.Bool("skip_special_tokens").value_or(true);
  reader.Ignore({"model"});
  RETURN_IF_ERROR(reader.Finish());
  ASSIGN_OR_RETURN(std::string text, Detokenize(rooms, call));
  return Json{{"prompt", std::move(text)}};
}

}  // namespace hydrad
