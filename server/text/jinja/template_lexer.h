// Splits the source of a template into tokens, white space taken as transformers' settings of jinja2 say:
// trim_blocks, lstrip_blocks, and one newline at the end of the source left out.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_LEXER_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_LEXER_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

namespace hydrad::jinja {

enum class TokenKind {
  kData,           // text between tags; never empty
  kVariableBegin,  // {{
  kVariableEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,   // without quotes, escapes resolved
  kInteger,  // without '_'
  kFloat,    // without '_'
  kOperator,
  kEnd,  // of the template; always the last
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;

  bool IsName(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  bool IsOperator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
};

// Returns the tokens of `source`, which must be UTF-8. Errors say the line.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// What an error says of a token.
std::string Describe(const Token& token);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_LEXER_H_
