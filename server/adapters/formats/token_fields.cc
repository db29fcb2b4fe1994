#include "server/adapters/formats/token_fields.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kSaved[] = "modules_to_save", kTrained[] = "trainable_token_indices";

// Whether PEFT, which goes by the end of the path, finds `module` under the name.
bool Names(std::string_view name, std::string_view module) {
  return name == module || (name.size() > module.size() && name.ends_with(module) &&
                            name[name.size() - module.size() - 1] == '.');
}

absl::StatusOr<std::vector<int32_t>> ReadTokens(const char* field, const Json& value) {
  const absl::Status bad = InvalidArgument("field '{}': must be a list of token ids", field);
  if (!value.is_array()) return bad;
  std::vector<int32_t> tokens;
  for (const Json& token : value) {
    const double number = token.is_number_integer() ? token.get<double>() : -1;  // no integer wraps
    if (!(number >= 0 && number <= INT32_MAX)) return bad;
    tokens.push_back(static_cast<int32_t>(number));
  }
  return tokens;
}

absl::Status ReadSaved(const Json& config, TokenFields* out) {
  const Json& value = Field(config, kSaved);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_array()) return InvalidArgument("field '{}': must be a list of module names", kSaved);
  for (const Json& name : value) {
    const std::string module = name.is_string() ? name.get<std::string>() : name.dump();
    if (Names(module, "embed_tokens")) {
      out->saves_embedding = true;
    } else if (Names(module, "lm_head")) {
      out->saves_head = true;
    } else {
      return InvalidArgument("field '{}': '{}' as a whole is not supported; embed_tokens and lm_head are",
                             kSaved, module);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTrainedOf(const std::string& module, const Json& value, TokenFields* out) {
  auto& tokens = Names(module, "embed_tokens") ? out->embedding_tokens : out->head_tokens;
  if (!Names(module, "embed_tokens") && !Names(module, "lm_head")) {
    return InvalidArgument(
        "field '{}': tokens of '{}' are not supported; those of embed_tokens and lm_head are", kTrained,
        module);
  }
  ASSIGN_OR_RETURN(tokens, ReadTokens(kTrained, value));
  std::vector<int32_t> sorted = *tokens;
  std::ranges::sort(sorted);
  if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end()) {
    return InvalidArgument("field '{}': token {} is given twice", kTrained, *twice);
  }
  if (tokens->empty()) tokens.reset();
  return absl::OkStatus();
}

absl::Status ReadTrained(const Json& config, TokenFields* out) {
  const Json& value = Field(config, kTrained);
  if (value.is_null()) return absl::OkStatus();
  if (value.is_object()) {
    for (const auto& [module, tokens] : value.items()) RETURN_IF_ERROR(ReadTrainedOf(module, tokens, out));
  } else {
    RETURN_IF_ERROR(ReadTrainedOf("embed_tokens", value, out));
  }
  if ((out->saves_embedding && out->embedding_tokens) || (out->saves_head && out->head_tokens)) {
    return InvalidArgument("field '{}': names a module that {} holds as a whole", kTrained, kSaved);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenFields> ParseTokenFields(const Json& config) {
  TokenFields out;
  RETURN_IF_ERROR(ReadSaved(config, &out));
  RETURN_IF_ERROR(ReadTrained(config, &out));
  out.ties = Field(config, "ensure_weight_tying") == true;
  const Json& invocation = Field(config, "alora_invocation_tokens");
  if (!invocation.is_null()) {
    ASSIGN_OR_RETURN(out.invocation, ReadTokens("alora_invocation_tokens", invocation));
  }
  return out;
}

}  // namespace hydrad
