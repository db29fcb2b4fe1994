// Translates the regular expressions of tokenizer.json files for PCRE2.
//
// They are written for Oniguruma with Ruby's syntax, which differs from PCRE2's: ^ and $ are always per line,
// \h is a hex digit, \v one character, [a[bc]] a union, {,3} a quantifier, a{2}+ a nested one; \s, \d, \w and
// \p know another Unicode version. A pattern that looks the same but means something else would silently
// change token ids, so this reads the pattern, writes every part in words that are the same in both, and
// refuses what it does not know.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_SYNTAX_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_SYNTAX_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

namespace hydrad {

// The pattern for pcre2_compile with PCRE2_UTF and no other option, newline LF. REQUIRES: `pattern` is UTF-8.
//
// Known: literals, . ^ $ \A \z \Z, classes with ranges, unions and negation, \s \S \d \D \w \W \h \H, \p{..}
// for the properties of unicode_tables.h, \t \n \r \f \v \a \e \xHH \x{H} \uHHHH, groups (..) (?:..) (?i:..)
// (?>..), look-around, | and the quantifiers * + ? {n} {n,} {n,m} {,m} with a lazy ?, the first three also
// with a possessive +. INVALID_ARGUMENT names the place and the part that is broken or not known. Depth of
// nesting is bounded.
absl::StatusOr<std::string> TranslateRegex(std::string_view pattern);

// A pattern that matches exactly `text`.
std::string LiteralRegex(std::string_view text);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_SYNTAX_H_
