#include "core/lexer.h"

#include <cctype>

namespace ptxsim {
namespace {

bool IsWord(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}

// First position after the comment, blank or newline at `i`, or `i` if there is none.
size_t SkipBlank(std::string_view s, size_t i, int* line) {
  if (s[i] == '\n') ++*line;
  if (std::isspace(static_cast<unsigned char>(s[i]))) return i + 1;
  if (s.substr(i, 2) == "//") {
    size_t end = s.find('\n', i);
    return end == s.npos ? s.size() : end;
  }
  if (s.substr(i, 2) == "/*") {
    size_t end = s.find("*/", i);
    end = end == s.npos ? s.size() : end + 2;
    for (char c : s.substr(i, end - i)) *line += c == '\n';
    return end;
  }
  return i;
}

size_t TokenEnd(std::string_view s, size_t i) {
  if (s[i] == '"') {
    size_t end = s.find('"', i + 1);
    return end == s.npos ? s.size() : end + 1;
  }
  size_t end = i;
  while (end < s.size() && (IsWord(s[end]) || s.substr(end, 2) == "::")) end += s[end] == ':' ? 2 : 1;
  return end == i ? i + 1 : end;
}

}  // namespace

std::vector<Token> Lex(std::string_view text) {
  std::vector<Token> tokens;
  tokens.reserve(text.size() / 6);
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\0') break;
    if (size_t next = SkipBlank(text, i, &line); next != i) {
      i = next;
      continue;
    }
    size_t end = TokenEnd(text, i);
    tokens.push_back({text.substr(i, end - i), line});
    i = end;
  }
  return tokens;
}

}  // namespace ptxsim
