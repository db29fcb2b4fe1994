// What an adapter's directory says about tokens.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_READ_TOKENS_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_READ_TOKENS_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/adapters/adapter_tokens.h"
#include "server/adapters/formats/disk.h"

namespace hydrad {

// Reads tokenizer.json of the directory `path` (and the end token of tokenizer_config.json) for an adapter
// that reads `vocab` tokens, of which the base has `base_vocab`. Null where its requests know the base's
// tokens only, as `base` writes them.
//
// An adapter with rows beyond the base's needs the file, which must tell nothing else of the base's ids than
// `base`, and no tokens without rows: INVALID_ARGUMENT otherwise. Any other adapter may have the file, for
// tokens among the ids that the base has rows but no text for; where it cannot be followed, `warnings` says
// why, and `base` counts. Other errors are the disk's, as ReadAdapter's. The files are not part of the
// adapter's digest, which many tools leave them out of.
absl::StatusOr<std::shared_ptr<const AdapterTokens>> ReadAdapterTokens(Disk& disk, const std::string& path,
                                                                       const Tokenizer& base, int base_vocab,
                                                                       int vocab,
                                                                       std::vector<std::string>* warnings);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_READ_TOKENS_H_
