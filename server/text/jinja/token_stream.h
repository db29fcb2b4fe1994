// The tokens of a template, as both parsers read them.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TOKEN_STREAM_H_
#define HYDRAD_SERVER_TEXT_JINJA_TOKEN_STREAM_H_

#include <absl/status/status.h>

#include <string_view>
#include <utility>
#include <vector>

#include "server/base/status.h"
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

  absl::Status Expect(TokenKind kind, std::string_view what) {
    if (current().kind == kind) return Take(), absl::OkStatus();
    return Error("expected {}, not {}", what, Describe(current()));
  }
  absl::Status ExpectOperator(std::string_view op) {
    if (SkipOperator(op)) return absl::OkStatus();
    return Error("expected '{}', not {}", op, Describe(current()));
  }
  absl::StatusOr<std::string> ExpectName() {
    if (current().kind != TokenKind::kName) return Error("expected a name, not {}", Describe(current()));
    return Take().text;
  }

  // An error at the current line.
  template <class... Args>
  absl::Status Error(fmt::format_string<Args...> text, Args&&... args) const {
    return InvalidArgument("line {}: {}", line(), fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  std::vector<Token> tokens_;
  size_t next_ = 0;
};

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TOKEN_STREAM_H_
