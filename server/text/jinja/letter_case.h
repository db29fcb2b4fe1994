// Upper and lower case, and classes of characters, as Python's str has them.
#ifndef HYDRAD_SERVER_TEXT_JINJA_LETTER_CASE_H_
#define HYDRAD_SERVER_TEXT_JINJA_LETTER_CASE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "server/text/jinja/template_text.h"

namespace hydrad::jinja {

enum class LetterCase { kUpper, kLower, kTitle, kFold };

// Appends the characters [begin, end) of `text` in the case, each with its origin: "ß" becomes "SS", and a
// capital sigma at the end of a word its final form. kTitle is the case of a single first letter.
void AppendInCase(const Text& text, size_t begin, size_t end, LetterCase letter_case, TextBuilder* out);

// Whether there are letters of a case, and all are of the one.
bool IsLowerCase(std::string_view text);
bool IsUpperCase(std::string_view text);

bool IsLetter(uint32_t code_point);        // str.isalpha
bool IsCased(uint32_t code_point);         // upper, lower or title case
bool IsUpperLetter(uint32_t code_point);   // upper or title case
bool IsDecimalDigit(uint32_t code_point);  // str.isdecimal
bool IsDigitLike(uint32_t code_point);     // str.isdigit: superscripts and circled digits too

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_LETTER_CASE_H_
