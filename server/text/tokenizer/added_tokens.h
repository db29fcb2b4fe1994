// The "added_tokens" of tokenizer.json: tokens that are cut out of the text before anything else looks at it.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_ADDED_TOKENS_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_ADDED_TOKENS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "server/text/byte_range.h"
#include "server/text/tokenizer/bpe.h"
#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/normalizer.h"

namespace hydrad {

struct AddedToken {
  std::string content;
  std::string decoded;       // what decoding starts from: the normalised content if `normalized`
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // looked for in the normalised text, as its own normalised form
  bool special = false;      // control token: left out of decoded text, may be hidden from the encoder
};

// A part of a text: an added token, or text between them (id -1).
struct AddedTokenSpan {
  int32_t id;
  size_t begin, end;
};

// A set of texts and ids, searched for leftmost first, longest first. Immutable once filled.
class TextSet {
 public:
  // The id of a text already in the set is kept.
  void Add(std::string_view text, int32_t id);
  bool empty() const { return next_.empty(); }
  // Whether a text of the set, by its id, counts where it ends at `end`.
  using Counts = std::function<bool(int32_t id, size_t end)>;
  // The longest text of the set that starts at `begin` and counts (all do if null): its id and end, or -1.
  int32_t LongestAt(std::string_view text, size_t begin, size_t* end, const Counts& counts = nullptr) const;

 private:
  std::unordered_map<uint64_t, int32_t> next_;  // node << 8 | byte -> node; the root is 0
  std::vector<int32_t> ids_{-1};                // by node: of the text that ends there, or -1
  bool first_[256] = {};                        // bytes with which some text starts
};

// Immutable, so any thread may use it.
class AddedTokens {
 public:
  // Ids follow the package, which does not read the ids of the file: a token of the vocabulary keeps its id,
  // the others are numbered from the size of the vocabulary in the order of the file. A warning is logged
  // where the file says otherwise. `node` may be null.
  static absl::StatusOr<AddedTokens> Parse(const JsonNode& node, const BpeModel& model,
                                           const Normalizer& normalizer);

  // Covers `text` with spans, in order. `normalized` says which of the two kinds of tokens to look for.
  // Special tokens are passed over inside the parts `data`, which ascend and do not overlap, and are none
  // where they reach over the border of such a part. A span may begin before the previous one ends if white
  // space was claimed from both sides.
  std::vector<AddedTokenSpan> Find(std::string_view text, bool normalized,
                                   std::span<const ByteRange> data) const;
  // The same with all of the text data, or nothing of it if `parse_special`.
  std::vector<AddedTokenSpan> Find(std::string_view text, bool normalized, bool parse_special) const;
  // True if Find can find anything of the kind.
  bool Has(bool normalized) const { return !sets_[normalized].empty(); }
  // True if a special token is looked for in the normalised text.
  bool HasNormalizedSpecial() const { return has_normalized_special_; }

  // The id of a token given by its content, or -1.
  int32_t TokenId(std::string_view content) const;
  // The token, or null.
  const AddedToken* Token(int32_t id) const;
  // True if the text is the content of a special token.
  bool IsSpecialText(std::string_view text) const { return special_.contains(std::string(text)); }
  int max_id() const { return by_id_.empty() ? -1 : by_id_.rbegin()->first; }

 private:
  absl::Status Add(const JsonNode& node, const BpeModel& model, const Normalizer& normalizer,
                   int32_t* next_id);
  bool StandsAlone(std::string_view text, size_t begin, size_t end) const;

  std::map<int32_t, AddedToken> by_id_;
  std::map<std::string, int32_t, std::less<>> ids_;
  std::unordered_set<std::string> special_;
  TextSet sets_[2];  // by `normalized`
  bool has_normalized_special_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_ADDED_TOKENS_H_
