#include "server/front/answers.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/adapters/adapter_tokens.h"
#include "server/base/names.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/error_details.h"
#include "server/front/validate.h"
#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {

namespace {

// The tokens that the adapter brings; null: none, or it is the base model.
absl::StatusOr<std::shared_ptr<const AdapterTokens>> TokensOf(const Rooms& rooms, const std::string& tenant,
                                                              const std::string& adapter) {
  if (adapter.empty()) return nullptr;
  if (!IsAdapterName(adapter)) return BadFields({{"adapter", kAdapterNameRule}});
  if (!rooms.admission.Allowed(tenant, adapter)) {
    return WithReason(PermissionDenied("tenant '{}' may not use adapter '{}'", tenant, adapter),
                      "ADAPTER_NOT_ALLOWED", {{"tenant", tenant}, {"adapter", adapter}});
  }
  absl::StatusOr<AdapterInfo> info = rooms.adapters.Get(adapter);
  if (!info.ok()) return WithReason(info.status(), "ADAPTER_NOT_FOUND", {{"adapter", adapter}});
  return info->tokens;
}

}  // namespace

absl::StatusOr<Tokenized> Tokenize(const Rooms& rooms, const std::string& tenant, const TokenizeCall& call) {
  RETURN_IF_ERROR(Validate(call, rooms.limits));
  ASSIGN_OR_RETURN(const auto own, TokensOf(rooms, tenant, call.adapter));
  const Tokenizer& tokenizer = own == nullptr ? rooms.tokenizer : *own->tokenizer;
  Tokenized out;
  out.ids = tokenizer.Encode(call.text, !call.no_special, call.parse_special);
  for (const int32_t id : out.ids) {
    std::string bytes = tokenizer.TokenBytes(id);
    out.tokens.push_back(IsUtf8(bytes) ? std::move(bytes) : "\uFFFD");
  }
  return out;
}

absl::StatusOr<std::string> Detokenize(const Rooms& rooms, const std::string& tenant,
                                       const DetokenizeCall& call) {
  ASSIGN_OR_RETURN(const auto own, TokensOf(rooms, tenant, call.adapter));
  RequestLimits limits = rooms.limits;
  if (own != nullptr) limits.vocab_size = std::max(limits.vocab_size, own->vocab);
  RETURN_IF_ERROR(Validate(call, limits));
  const Tokenizer& tokenizer = own == nullptr ? rooms.tokenizer : *own->tokenizer;
  return tokenizer.Decode(call.token_ids, !call.keep_special_tokens);
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
                      .tier = info.tier,
                      .added_tokens = info.tokens == nullptr ? 0 : info.tokens->count});
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
