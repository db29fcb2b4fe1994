// What a Tokenizer is made of; for tokenizer.cc and tokenizer_impl.cc.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_TOKENIZER_IMPL_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_TOKENIZER_IMPL_H_

#include <absl/status/statusor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/tokenizer.h"
#include "server/text/tokenizer/added_tokens.h"
#include "server/text/tokenizer/bpe.h"
#include "server/text/tokenizer/decoder.h"
#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/normalizer.h"
#include "server/text/tokenizer/post_processor.h"
#include "server/text/tokenizer/pre_tokenizer.h"

namespace hydrad {

// A tokenizer.json as JSON; its "model", nearly all of it, only if `with_model`. INVALID_ARGUMENT says what
// it is instead.
absl::StatusOr<nlohmann::json> ParseTokenizerJson(std::string_view json, bool with_model = true);

// Immutable after Parse or With.
class Tokenizer::Impl {
 public:
  static absl::StatusOr<std::unique_ptr<const Impl>> Parse(const JsonNode& root);
  // As Tokenizer's.
  absl::StatusOr<std::unique_ptr<const Impl>> With(const nlohmann::json& more) const;
  absl::StatusOr<nlohmann::json> AddedBy(std::string_view tokenizer_json) const;

  // `data` as in Tokenizer; those of parts of a text count from the part's beginning.
  std::vector<int32_t> Encode(std::string_view text, bool add_special, std::span<const ByteRange> data) const;
  // What decoding starts from, or null: the id is no token, or is left out.
  const std::string* DecodedToken(int32_t id, bool skip_special) const;

  // What tokenizers that differ by added tokens share.
  struct Parts {
    Normalizer normalizer;
    PreTokenizer pre_tokenizer;
    BpeModel model;
    PostProcessor post_processor;
    Decoder decoder;
  };
  std::shared_ptr<const Parts> parts;
  AddedTokens added;
  nlohmann::json added_json;  // the array that `added` was read from

 private:
  // One call of Encode: the results so far and memory that is used again for every part of the text.
  struct Run {
    std::vector<int32_t> ids;
    BpeScratch scratch;
  };
  void EncodeRaw(std::string_view text, std::span<const ByteRange> data, size_t front_bytes, Run* run) const;
  void EncodeNormalized(std::string_view text, std::span<const ByteRange> data, size_t front_bytes,
                        Run* run) const;
  void EncodePlain(std::string_view text, size_t front_bytes, Run* run) const;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_TOKENIZER_IMPL_H_
