// The tokens that an adapter brings beside its weights.
#ifndef HYDRAD_SERVER_ADAPTERS_ADAPTER_TOKENS_H_
#define HYDRAD_SERVER_ADAPTERS_ADAPTER_TOKENS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "server/text/tokenizer.h"

namespace hydrad {

// Immutable. Only requests of the adapter know these tokens: the ids of the base keep their meaning in them.
struct AdapterTokens {
  // Ids of its requests are 0 to vocab - 1; base_vocab is that of the base.
  int vocab = 0, base_vocab = 0;
  std::string more = "[]";  // the tokens of its tokenizer beyond the base's, as Tokenizer::With takes them
  int count = 0;            // how many of those there are
  std::string eos_token;    // the one of them that ends an answer, besides the base's; "" for none
  // The base's tokenizer with `more`; null only in what a journal tells, until WithTokenizer.
  std::shared_ptr<const Tokenizer> tokenizer{};
  int32_t eos = -1;  // the id of eos_token
};

// `tokens` with the members that the base's tokenizer and the others tell. INVALID_ARGUMENT where they do not
// go together: a token has no id below `vocab`.
absl::StatusOr<std::shared_ptr<const AdapterTokens>> WithTokenizer(AdapterTokens tokens,
                                                                   const Tokenizer& base);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_ADAPTER_TOKENS_H_
