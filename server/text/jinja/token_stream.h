// The tokens of a template, as both parsers read them.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TOKEN_STREAM_H_
#define HYDRAD_SERVER_TEXT_JINJA_TOKEN_STREAM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/jinja/template_lexer.h"

namespace hydrad::jinja {

class TokenStream {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[next_]; }
  const Token& look() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  int line() const { return current().line; }
  // Returns the current token and moves on; the end stays current.
  const Token& Take() {
    const Token& token = tokens_[next_];
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
  bool SkipName(std::string_view name) { return current().IsName(name) && (Take(), true); }
  bool SkipOperator(std::string_view op) { return current().IsOperator(op) && (Take(), true); }

  absl::Status Expect(TokenKind kind, std::string_view what);
  absl::Status ExpectOperator(std::string_view op);
  absl::StatusOr<std::string> ExpectName();

  // An error at the current line.
  template <class... Args>
  absl::Status Error(fmt::format_string<Args...> text, Args&&... args) const {
    return ErrorHere(fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  absl::Status ErrorHere(std::string_view text) const;

  std::vector<Token> tokens_;
  size_t next_ = 0;
};

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TOKEN_STREAM_H_
