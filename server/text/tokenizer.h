// Text to token ids and back, from a Hugging Face tokenizer.json (BPE of both kinds: byte-level, and
// SentencePiece-style with byte fallback).
//
// Promise: the same ids and the same text as the `tokenizers` package, for every input. A file with a part
// that we do not have is refused, never approximated. Its "truncation" and "padding" are not applied: a
// server bounds prompts itself. The file comes from a stranger: nothing in it can crash or hang the loader,
// or make it take memory out of proportion to the file.
//
//   text -> added tokens cut out -> normaliser -> added tokens of normalised text -> pre-tokenizer -> BPE
//        -> post-processor                                        (one file each in server/text/tokenizer/)
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/byte_range.h"

namespace hydrad {

class DecodeStream;

// Immutable after loading; every method may be called from any thread.
class Tokenizer {
 public:
  // Reads tokenizer.json. Errors name the file and the part that is unsupported or broken.
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> Load(const std::string& path);
  static absl::StatusOr<std::unique_ptr<const Tokenizer>> FromJson(std::string_view json);
  ~Tokenizer();

  // This tokenizer with more tokens, numbered on from its own; all else is shared. `more` is a JSON array of
  // such objects as stand in "added_tokens" of a tokenizer.json.
  absl::StatusOr<std::unique_ptr<const Tokenizer>> With(std::string_view more) const;
  // The tokens that another tokenizer.json has beyond this one's, as With takes them; "[]" for none, and then
  // nothing else of the file has been looked at. INVALID_ARGUMENT where the other is broken, or does not give
  // every id of this one's the same text by the same merges. What it says of normalisation, pre-tokenizer,
  // decoder and post-processor counts for nothing.
  absl::StatusOr<std::string> AddedBy(std::string_view tokenizer_json) const;

  // Token ids of `text`, equal to what the `tokenizers` package gives. Special tokens written in the text are
  // recognised only if `parse_special` (its encode_special_tokens is the opposite); those of the
  // post-processor (BOS) are added only if `add_special`. Bytes that are not UTF-8 are replaced by U+FFFD
  // first.
  std::vector<int32_t> Encode(std::string_view text, bool add_special, bool parse_special) const;
  // The same for a text of which the parts `data` came from users (ChatTemplate::Rendered), nothing added at
  // its ends: special tokens are recognised where no byte of theirs is data, and are plain text where one is.
  // REQUIRES: `data` is ascending and does not overlap.
  std::vector<int32_t> Encode(std::string_view text, std::span<const ByteRange> data) const;

  // The text of `ids`; special tokens are left out if `skip_special`, ids that are no token always. Bytes
  // that do not form UTF-8 become U+FFFD.
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const;

  int vocab_size() const;  // largest id + 1
  // The id of a token given as its exact content, or -1.
  int32_t TokenId(std::string_view token) const;
  // The token's own bytes as they appear in the middle of a text ("" for an id that is not in the
  // vocabulary). Not always UTF-8.
  std::string TokenBytes(int32_t id) const;
  // Whether the token is a control token, which Decode can leave out.
  bool IsSpecial(int32_t id) const;

 private:
  friend class Detokenizer;
  class Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// Detokenises what follows a prompt, token by token: the text of prompt and tokens beyond that of the prompt
// alone. Whatever depends on the place in a text (a first space that decoders drop) is as if all were decoded
// at once, and a token may complete a character that the prompt begins. A copy goes on from the same place.
//
// A character is returned with its last byte, and no piece ends inside one. Joined, the pieces are what
// Decode gives, but for a run of tokens <0xHH> that is not UTF-8 behind some whole characters: Decode
// replaces all of it, while a stream cannot take back the characters that it has returned, and replaces the
// rest. One thread at a time; keeps the tokenizer's address.
class Detokenizer {
 public:
  // The prompt's text is put into `echo`, and an end of it that is no whole character comes with the text
  // behind it; without `echo`, such an end is left out unless a token completes it. Of special tokens that
  // are skipped, `kept` are not.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special, std::span<const int32_t> prompt,
              std::string* echo = nullptr, std::vector<int32_t> kept = {});
  Detokenizer(const Detokenizer& other);
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;
  ~Detokenizer();

  // The text that became certain with `id`; may be empty. REQUIRES: not after Finish.
  std::string Add(int32_t id);
  // Whether text of the tokens so far is still held back.
  bool holding() const;
  // Returns what is still held back at the end of the stream (an incomplete character becomes U+FFFD).
  std::string Finish();

 private:
  void Feed(int32_t id);
  std::string Take(bool last);

  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<int32_t> kept_;  // although they are special
  std::unique_ptr<DecodeStream> stream_;
  std::string repeated_;  // left out if the text begins so: what the prompt alone ends in
  std::string begun_;     // the text so far, while it may still become that
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_H_
