// A byte-level tokenizer small enough to read.
#ifndef HYDRAD_TESTS_FAKES_TEST_TOKENIZER_H_
#define HYDRAD_TESTS_FAKES_TEST_TOKENIZER_H_

#include <cstdint>
#include <memory>

#include "server/base/check.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// Ids of MakeTestTokenizer. Those whose bytes are not UTF-8 by themselves make up characters: kC3 kA9 is "é",
// kE2 k82 kAC is "€".
namespace token {
inline constexpr int32_t kA = 0, kB = 1, kC = 2, kD = 3, kSpace = 4, kAb = 5, kC3 = 6, kA9 = 7, kE2 = 8,
                         k82 = 9, kAC = 10, kBc = 11, k82AC = 12, kACE2 = 13, kAE2 = 14, kDot = 15, kEnd = 16,
                         kPoison = 17, kCount = 18;
}  // namespace token

inline std::unique_ptr<const Tokenizer> MakeTestTokenizer() {
  auto tokenizer = Tokenizer::FromJson(R"({
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
    "added_tokens": [
      {"id": 16, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
       "special": true},
      {"id": 17, "content": "<|poison|>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {
      "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
      "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "\u0120": 4, "ab": 5, "\u00c3": 6, "\u00a9": 7, "\u00e2": 8,
                "\u0124": 9, "\u00ac": 10, "bc": 11, "\u0124\u00ac": 12, "\u00ac\u00e2": 13, "a\u00e2": 14,
                ".": 15},
      "merges": ["a b", "b c", "\u0124 \u00ac", "\u00ac \u00e2", "a \u00e2"]}})");
  HYDRAD_CHECK(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_TEST_TOKENIZER_H_
