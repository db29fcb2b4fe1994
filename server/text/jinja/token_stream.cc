#include "server/text/jinja/token_stream.h"

#include "server/base/invalid_argument.h"

namespace hydrad::jinja {

absl::Status TokenStream::Expect(TokenKind kind, std::string_view what) {
  if (current().kind == kind) return Take(), absl::OkStatus();
  return Error("expected {}, not {}", what, Describe(current()));
}

absl::Status TokenStream::ExpectOperator(std::string_view op) {
  if (SkipOperator(op)) return absl::OkStatus();
  return Error("expected '{}', not {}", op, Describe(current()));
}

absl::StatusOr<std::string> TokenStream::ExpectName() {
  if (current().kind != TokenKind::kName) return Error("expected a name, not {}", Describe(current()));
  return Take().text;
}

absl::Status TokenStream::ErrorHere(std::string_view text) const {
  return InvalidArgument("line {}: {}", line(), text);
}

}  // namespace hydrad::jinja
