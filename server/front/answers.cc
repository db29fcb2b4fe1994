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

namespace {

// Those that can be used and are `allowed` by their names.
template <class Allowed>
std::vector<ServedModel> Models(const Rooms& rooms, Allowed allowed) {
  std::vector<ServedModel> models;
  const bool chat = rooms.chat->status().ok();
  if (allowed("")) models.push_back({.name = "", .chat = chat});
  for (AdapterInfo& info : rooms.adapters.List()) {
    if (info.state != AdapterState::kAvailable || !allowed(info.name)) continue;
    models.push_back({.name = std::move(info.name),
                      .generation = info.generation,
                      .loaded = info.loaded,
                      .chat = info.chat == nullptr ? chat : info.chat->status().ok(),
                      .family = std::move(info.family),
                      .experts = info.experts,
                      .expert_names = std::move(info.expert_names),
                      .tier = info.tier});
  }
  return models;
}

}  // namespace

std::vector<ServedModel> ModelsFor(const Rooms& rooms, const std::string& tenant) {
  return Models(rooms, [&](std::string_view name) { return rooms.admission.Allowed(tenant, name); });
}

std::vector<ServedModel> EveryModel(const Rooms& rooms) {
  return Models(rooms, [](std::string_view) { return true; });
}

}  // namespace hydrad
