// The fields of adapter_config.json about tokens and whole modules.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TOKEN_FIELDS_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TOKEN_FIELDS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "server/base/json.h"

namespace hydrad {

struct TokenFields {
  // modules_to_save: the adapter has its own matrix in place of the base's.
  bool saves_embedding = false, saves_head = false;
  // trainable_token_indices: the adapter has its own rows for these tokens, in the order of the file's rows.
  std::optional<std::vector<int32_t>> embedding_tokens, head_tokens;
  // ensure_weight_tying: where the base's lm_head is its embedding, the adapter's is its own embedding.
  bool ties = false;
  // alora_invocation_tokens: the adapter changes nothing before the last place in the prompt where these
  // begin, and nothing at all in a prompt without them. Empty: it changes every token.
  std::vector<int32_t> invocation;
};

// INVALID_ARGUMENT, naming the field, for other modules than embed_tokens and lm_head, for what are no
// tokens, for a token given twice, and for a module that is saved whole and trained by tokens.
absl::StatusOr<TokenFields> ParseTokenFields(const Json& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TOKEN_FIELDS_H_
