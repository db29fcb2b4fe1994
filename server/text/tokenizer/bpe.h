// The "model" of tokenizer.json: byte pair encoding (Sennrich et al., 2016) of one piece of text.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_BPE_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/token_table.h"

namespace hydrad {

// Working memory of one encoding, reused from piece to piece.
struct BpeScratch {
  struct Symbol {
    int32_t id;          // -1: merged into the one before
    int32_t prev, next;  // positions; -1 at the ends
  };
  struct Candidate {
    uint32_t rank;
    int32_t position;  // of the left symbol
    int32_t id;        // of the token they would become
  };
  std::vector<int32_t> ids;
  std::vector<Merge> merges;          // of ids[i] and ids[i + 1]
  std::vector<Symbol> symbols;        // long pieces only
  std::vector<Candidate> candidates;  // a heap; long pieces only
};

// A piece starts as one token per character (or, where the vocabulary lacks the character, per byte, or
// unknown). Then of all neighbours that have a merge those with the lowest rank, leftmost first, become one
// token, until none have. Time O(n log n) in the length of the piece. Immutable, so any thread may use it.
class BpeModel {
 public:
  // `takes_bytes` says that Encode will be given bytes, which the vocabulary writes as characters (see
  // utf8.h). Errors name the field that is broken or not supported (another model, dropout).
  static absl::StatusOr<BpeModel> Parse(const JsonNode& node, bool takes_bytes);

  // Appends the tokens of `piece`, which is not empty and is UTF-8 unless the model takes bytes.
  void Encode(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const;

  // The id of a token of the vocabulary, or -1.
  int32_t TokenId(std::string_view token) const { return names_.Find(token); }
  // The token, or null.
  const std::string* Token(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < tokens_.size() && known_[id] ? &tokens_[id] : nullptr;
  }
  int token_count() const { return token_count_; }
  // What is another in `other`, in words; empty where it has the same tokens, merges and options.
  std::string DifferenceTo(const BpeModel& other) const;
  int max_id() const { return static_cast<int>(tokens_.size()) - 1; }

 private:
  absl::Status ParseOptions(const JsonNode& node);
  absl::Status ParseVocabulary(const JsonNode& node);
  absl::Status ParseMerges(const JsonNode& node);
  void IndexBytes();
  void IndexWholePieces();

  bool StartFromBytes(std::string_view piece, std::vector<int32_t>* ids) const;
  void StartFromChars(std::string_view text, std::vector<int32_t>* ids) const;
  void MergeShort(BpeScratch* scratch) const;
  void MergeLong(BpeScratch* scratch) const;
  void EncodeWord(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const;

  // Options.
  std::string prefix_, suffix_;  // of every character but the first, of the last (older models)
  int32_t unknown_ = -1;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool takes_bytes_ = false;

  std::vector<std::string> tokens_;  // by id
  std::vector<bool> known_;          // by id
  int token_count_ = 0;
  TokenTable names_;  // token -> id
  MergeTable merges_;
  std::array<int32_t, 256> fallback_;   // byte -> the token <0x..>, or -1
  std::array<int32_t, 256> byte_char_;  // byte -> the token of its character, or -1
  bool all_bytes_ = false;              // every byte has one, so bytes need not be written as characters

  // Pieces that are encoded as one token, in the form in which Encode gets them: most words of a text are.
  TokenTable whole_;
  // No token but those of one character holds ▁ behind something else, so nothing merges across the place
  // before it and a text can be cut there (SentencePiece models have no pre-tokenizer).
  bool cuts_before_metaspace_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_BPE_H_
