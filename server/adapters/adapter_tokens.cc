#include "server/adapters/adapter_tokens.h"

#include <algorithm>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/status_macros.h"

namespace hydrad {

absl::StatusOr<std::shared_ptr<const AdapterTokens>> WithTokenizer(AdapterTokens tokens,
                                                                   const Tokenizer& base) {
  ASSIGN_OR_RETURN(const Json more, ParseJson(tokens.more));
  ASSIGN_OR_RETURN(tokens.tokenizer, base.With(tokens.more));
  tokens.count = static_cast<int>(more.size());
  for (const Json& token : more) {
    const Json& content = Field(token, "content");
    const int32_t id = content.is_string() ? tokens.tokenizer->TokenId(content.get<std::string>()) : -1;
    if (id >= 0 && id < tokens.vocab) continue;
    return InvalidArgument("token {} has the id {}, and neither the base model nor the adapter has its row",
                           content.dump(-1, ' ', true, Json::error_handler_t::replace), id);
  }
  const bool brings = !tokens.eos_token.empty() && base.TokenId(tokens.eos_token) < 0;
  tokens.eos = brings ? tokens.tokenizer->TokenId(tokens.eos_token) : -1;
  if (tokens.eos < 0) tokens.eos_token.clear();
  return std::make_shared<const AdapterTokens>(std::move(tokens));
}

}  // namespace hydrad
