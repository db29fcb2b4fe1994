// Classes and forms of Unicode characters exactly as the `tokenizers` package sees them (see
// unicode_tables.h).
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_UNICODE_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_UNICODE_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace hydrad {

bool IsWhiteSpace(uint32_t code_point);  // White_Space
bool IsNumeric(uint32_t code_point);     // Nd, Nl, No
bool IsWordChar(uint32_t code_point);    // \w: alphabetic, mark, decimal digit, connector punctuation, joiner

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` in the normal form (UAX #15 with the tables of Unicode 9). REQUIRES: `text` is UTF-8. Time O(n log
// n) however many combining marks follow each other.
std::string ToNormalForm(std::string_view text, NormalForm form);

// Lower case of every character by itself (no final sigma). REQUIRES: `text` is UTF-8.
std::string ToLowerCase(std::string_view text);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_UNICODE_H_
