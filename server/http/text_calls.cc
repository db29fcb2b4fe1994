#include "server/http/text_calls.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/front/answers.h"
#include "server/http/body_reader.h"
#include "server/http/completion_call.h"  // ReadBody

namespace hydrad {
namespace {

// The adapter that "model" names, which the tenant may use; "" for any other name.
std::string AdapterIn(const Rooms& rooms, const std::string& tenant, const std::string& base_model,
                      BodyReader& reader) {
  const std::string model = reader.Text("model").value_or(base_model);
  const bool adapter =
      model != base_model && rooms.admission.Allowed(tenant, model) && rooms.adapters.Get(model).ok();
  return adapter ? model : "";
}

}  // namespace

absl::StatusOr<Json> AnswerTokenize(const Rooms& rooms, const std::string& tenant,
                                    const std::string& base_model, std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  TokenizeCall call;
  call.text = reader.Text("prompt").value_or("");
  call.no_special = !reader.Bool("add_special_tokens").value_or(true);
  call.parse_special = reader.Bool("parse_special").value_or(false);
  call.adapter = AdapterIn(rooms, tenant, base_model, reader);
  RETURN_IF_ERROR(reader.Finish());
  ASSIGN_OR_RETURN(Tokenized tokenized, Tokenize(rooms, tenant, call));
  return Json{{"count", tokenized.ids.size()},
              {"max_model_len", rooms.limits.max_context},
              {"tokens", std::move(tokenized.ids)},
              {"token_strs", std::move(tokenized.tokens)}};
}

absl::StatusOr<Json> AnswerDetokenize(const Rooms& rooms, const std::string& tenant,
                                      const std::string& base_model, std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  DetokenizeCall call;
  call.token_ids = reader.Ids("tokens");
  call.keep_special_tokens = !reader.Bool("skip_special_tokens").value_or(true);
  call.adapter = AdapterIn(rooms, tenant, base_model, reader);
  RETURN_IF_ERROR(reader.Finish());
  ASSIGN_OR_RETURN(std::string text, Detokenize(rooms, tenant, call));
  return Json{{"prompt", std::move(text)}};
}

}  // namespace hydrad
