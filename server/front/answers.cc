#include "server/front/answers.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/front/validate.h"
#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {

absl::StatusOr<Tokenized> Tokenize(const Rooms& rooms, const TokenizeCall& call) {
  RETURN_IF_ERROR(Validate(call, rooms.limits));
  Tokenized out;
  out.ids = rooms.tokenizer.Encode(call.text, !call.no_special, call.parse_special);
  for (const int32_t id : out.ids) {
    std::string bytes = rooms.tokenizer.TokenBytes(id);
    out.tokens.push_back(IsUtf8(bytes) ? std::move(bytes) : "\uFFFD");
  }
  return out;
}

absl::StatusOr<std::string> Detokenize(const Rooms& rooms, const DetokenizeCall& call) {
  RETURN_IF_ERROR(Validate(call, rooms.limits));
  return rooms.tokenizer.Decode(call.token_ids, !call.keep_special_tokens);
}

std::vector<ServedModel> ModelsFor(const Rooms& rooms, const std::string& tenant) {
  std::vector<ServedModel> models;
  const bool chat = rooms.chat->status().ok();
  if (rooms.admission.Allowed(tenant, "")) models.push_back({.name = "", .chat = chat});
  for (AdapterInfo& info : rooms.adapters.List()) {
    if (info.state != AdapterState::kAvailable || !rooms.admission.Allowed(tenant, info.name)) continue;
    models.push_back({.name = std::move(info.name),
                      .generation = info.generation,
                      .chat = info.chat == nullptr ? chat : info.chat->status().ok(),
                      .family = std::move(info.family),
                      .experts = info.experts,
                      .expert_names = std::move(info.expert_names),
                      .tier = info.tier});
  }
  return models;
}

}  // namespace hydrad
