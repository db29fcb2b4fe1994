#include "server/http/score_call.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/http/chat_completion_call.h"  // ReadConversation

namespace hydrad {
namespace {

void ReadPrompt(BodyReader& reader, GenerateCall* call) {
  if (reader.Value("messages") == nullptr) {
    Prompts prompts = ReadPrompts(reader);
    if (prompts.size() > 1) reader.Fail("prompt", "must be one text, or ids of tokens");
    if (!prompts.empty()) call->prompt = std::move(prompts.front());
    return;
  }
  if (reader.Value("prompt") != nullptr) reader.Fail("prompt", "must be left out beside messages");
  ChatPrompt chat;
  ReadConversation(reader, &chat);
  call->prompt = std::move(chat);
}

}  // namespace

absl::StatusOr<ScoreCall> ReadScoreCall(std::string_view body, const std::string& base_model) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  ScoreCall out;
  ReadModel(base_model, reader, &out.call, &out.wishes);
  ReadPrompt(reader, &out.call);
  const Json* labels = reader.Value("labels");
  if (labels == nullptr || !labels->is_array() || labels->empty()) {
    reader.Fail("labels", "must be a list of texts");
  } else {
    out.call.labels = reader.Texts("labels");
  }
  RETURN_IF_ERROR(reader.Finish());
  return out;
}

}  // namespace hydrad
