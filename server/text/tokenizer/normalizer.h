// The "normalizer" of tokenizer.json: rewrites text before it is split.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_NORMALIZER_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_NORMALIZER_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/byte_range.h"
#include "server/text/tokenizer/json_node.h"

namespace hydrad {

// A list of steps. Immutable, so any thread may use it.
// Known: Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip.
class Normalizer {
 public:
  // One step. `text` is UTF-8 and stays so.
  class Step {
   public:
    virtual ~Step() = default;
    virtual std::string Apply(std::string_view text) const = 0;
  };

  Normalizer() = default;  // changes nothing
  // `node` may be null, which changes nothing. Errors name the component that is not supported or broken.
  static absl::StatusOr<Normalizer> Parse(const JsonNode& node);

  bool empty() const { return steps_.empty(); }
  std::string Apply(std::string_view text) const;
  // How many bytes at the front of Apply's result for a text come from the text's first character: what a
  // Prepend adds belongs to it. 0 if that character was stripped. (Metaspace asks what stands at the start of
  // the input.)
  size_t FrontBytes(std::string_view text, std::string_view result) const;
  // Where the parts `data` of a text are in Apply's result for it. All of the result counts as data
  // where the steps see across a border (a letter and its accent, white space that is stripped).
  std::vector<ByteRange> DataOf(std::string_view text, std::span<const ByteRange> data,
                                std::string_view result) const;

 private:
  std::vector<std::unique_ptr<const Step>> steps_;
  size_t prepended_ = 0;  // bytes that the Prepend steps add
  bool strips_left_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_NORMALIZER_H_
