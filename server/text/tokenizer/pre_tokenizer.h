// The "pre_tokenizer" of tokenizer.json: cuts text into the pieces that BPE treats one by one.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_PRE_TOKENIZER_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_PRE_TOKENIZER_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/pattern.h"

namespace hydrad {

// Text on its way to BPE. Not empty.
struct Piece {
  std::string_view text;
  // Bytes at the front that come from the first character of the whole input; 0 for a piece further on.
  size_t front_bytes = 0;
};

// Pieces, and the strings that steps had to write anew. Pieces may also view the caller's text.
struct Pieces {
  std::vector<Piece> list;
  std::deque<std::string> storage;  // grows only, so that views stay valid

  std::string_view Keep(std::string text) { return storage.emplace_back(std::move(text)); }
};

// A list of steps. Immutable, so any thread may use it.
// Known: Sequence, ByteLevel, Digits, Split, Metaspace, Whitespace, WhitespaceSplit.
class PreTokenizer {
 public:
  // Replaces every piece by what it is cut into.
  class Step {
   public:
    virtual ~Step() = default;
    virtual void Apply(Pieces* pieces) const = 0;
  };

  PreTokenizer() = default;  // one piece
  // `node` may be null. Errors name the component that is not supported or broken.
  static absl::StatusOr<PreTokenizer> Parse(const JsonNode& node);

  // Cuts `pieces`, which view texts that outlive them.
  void Apply(Pieces* pieces) const;

  // If the last step writes bytes as characters (ByteLevel), Apply leaves that writing out: the pieces hold
  // the bytes themselves, and the model, which knows both writings of its vocabulary, takes them directly.
  bool ends_with_bytes() const { return ends_with_bytes_; }

 private:
  std::vector<std::unique_ptr<const Step>> steps_;
  bool ends_with_bytes_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_PRE_TOKENIZER_H_
