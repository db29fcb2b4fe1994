// The shapes of the tokens inside a tag.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TOKEN_SCAN_H_
#define HYDRAD_SERVER_TEXT_JINJA_TOKEN_SCAN_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "server/text/jinja/template_lexer.h"

namespace hydrad::jinja {

// Each returns how many bytes at the front of `text` are a token of its kind; 0 for none.
// A number is kInteger or kFloat; behind a dot it is never a float.
size_t ScanNumber(std::string_view text, bool behind_dot, TokenKind* kind);
size_t ScanName(std::string_view text);
// With both quotes; 0 also where the closing one is missing. REQUIRES: `text` begins with a quote.
size_t ScanString(std::string_view text);
size_t ScanOperator(std::string_view text);

// What stands between the quotes of a string means, with Python's escapes.
absl::StatusOr<std::string> UnescapeString(std::string_view text);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TOKEN_SCAN_H_
