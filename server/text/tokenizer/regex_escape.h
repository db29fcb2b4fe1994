// The characters of a pattern, and the escapes in it: the vocabulary with which regex_syntax.cc reads.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_ESCAPE_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_ESCAPE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace hydrad {

// A place in a pattern, which must be UTF-8 and outlive this.
struct RegexCursor {
  std::string_view in;
  size_t pos = 0;

  bool AtEnd() const { return pos == in.size(); }
  bool Peek(std::string_view text) const { return in.substr(pos).starts_with(text); }
  bool Take(std::string_view text) {
    if (!Peek(text)) return false;
    pos += text.size();
    return true;
  }
  // INVALID_ARGUMENT that names the place: the pattern is broken, or holds something that we do not have.
  absl::Status Bad(std::string_view what) const;
  absl::Status Unsupported(std::string_view what) const;
};

// The meaning of an escape.
struct RegexEscape {
  enum Kind {
    kChar,    // the character `c`
    kSet,     // one of the characters of `text`, or any other if `negated`
    kAnchor,  // a place
  } kind;
  uint32_t c = 0;
  std::string text = {};  // kSet: items for a class of PCRE2; kAnchor: as PCRE2 writes it
  bool negated = false;
  std::string complement = {};     // kSet: items for all other characters, where they are known
  bool closed_under_case = false;  // kSet: ignoring case changes nothing
};

// Reads the escape at the cursor, which stands before its backslash, and moves behind it. Errors: an escape
// that is broken or not known.
absl::StatusOr<RegexEscape> ReadRegexEscape(RegexCursor* cursor);

// Appends the character so that it means itself, in a class and outside.
void AppendRegexChar(uint32_t c, std::string* out);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_ESCAPE_H_
