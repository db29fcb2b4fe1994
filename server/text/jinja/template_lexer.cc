#include "server/text/jinja/template_lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/template_text.h"
#include "server/text/jinja/token_scan.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

constexpr size_t kMaxSource = 1024 * 1024;

// Line ends become '\n', and one at the end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run();

 private:
  absl::Status Tag();
  absl::Status Comment();
  absl::Status Raw();
  absl::Status TagToken();
  bool EndOfTag(bool variable);
  // Whether the source goes on with `text`; then moves behind it.
  bool Skip(std::string_view text);
  bool SkipSpace();
  // Where a tag named `name` that begins at `pos` with "{%" and a sign ends, or npos: "{%- raw -%}".
  size_t EndOfNamedTag(size_t pos, std::string_view name, bool trims_newline) const;
  size_t SkipSpaceFrom(size_t pos) const;
  // Appends [from, to), which stands before a tag with this sign.
  void AddData(size_t from, size_t to, char sign, bool variable);
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  // Moves to `pos`, counting lines.
  void MoveTo(size_t pos);
  absl::Status Balance(char op);
  absl::Status Error(std::string_view what) const { return InvalidArgument("line {}: {}", line_, what); }
  std::string_view Rest() const { return std::string_view(source_).substr(pos_); }

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool at_line_start_ = true;  // what came before ends with a newline that was taken away
  std::string open_;           // brackets of the tag that are not yet closed
  std::vector<Token> tokens_;
};

void Lexer::MoveTo(size_t pos) {
  line_ += static_cast<int>(std::count(source_.begin() + pos_, source_.begin() + pos, '\n'));
  pos_ = pos;
  at_line_start_ = pos > 0 && source_[pos - 1] == '\n';
}

bool Lexer::Skip(std::string_view text) {
  if (!Rest().starts_with(text)) return false;
  MoveTo(pos_ + text.size());
  return true;
}

size_t Lexer::SkipSpaceFrom(size_t pos) const {
  const std::string_view rest = std::string_view(source_).substr(pos);
  return source_.size() - StripSpace(rest, /*left=*/true, /*right=*/false).size();
}

bool Lexer::SkipSpace() {
  const size_t end = SkipSpaceFrom(pos_);
  if (end == pos_) return false;
  MoveTo(end);
  return true;
}

size_t Lexer::EndOfNamedTag(size_t pos, std::string_view name, bool trims_newline) const {
  pos = SkipSpaceFrom(pos);
  if (!std::string_view(source_).substr(pos).starts_with(name)) return std::string::npos;
  pos = SkipSpaceFrom(pos + name.size());
  const std::string_view rest = std::string_view(source_).substr(pos);
  if (rest.starts_with("-%}")) return SkipSpaceFrom(pos + 3);
  if (trims_newline && rest.starts_with("+%}")) return pos + 3;
  if (rest.starts_with("%}\n") && trims_newline) return pos + 3;
  return rest.starts_with("%}") ? pos + 2 : std::string::npos;
}

void Lexer::AddData(size_t from, size_t to, char sign, bool variable) {
  std::string_view text = std::string_view(source_).substr(from, to - from);
  if (sign == '-') {
    text = StripSpace(text, /*left=*/false, /*right=*/true);
  } else if (sign != '+' && !variable) {
    const size_t line = text.rfind('\n') + 1;
    if ((line > 0 || at_line_start_) && StripSpace(text.substr(line), true, true).empty()) {
      text = text.substr(0, line);
    }
  }
  if (!text.empty()) Add(TokenKind::kData, std::string(text));
}

absl::StatusOr<std::vector<Token>> Lexer::Run() {
  while (pos_ < source_.size()) {
    size_t tag = pos_;
    while ((tag = source_.find('{', tag)) != std::string::npos) {
      if (tag + 1 < source_.size() && std::string_view("{%#").find(source_[tag + 1]) != std::string::npos)
        break;
      ++tag;
    }
    if (tag == std::string::npos) {
      Add(TokenKind::kData, source_.substr(pos_));
      break;
    }
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    AddData(pos_, tag, sign, source_[tag + 1] == '{');
    MoveTo(tag);
    RETURN_IF_ERROR(Tag());
  }
  Add(TokenKind::kEnd, "");
  return std::move(tokens_);
}

absl::Status Lexer::Tag() {
  const char type = source_[pos_ + 1];
  size_t inside = pos_ + 2;
  if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+')) ++inside;
  if (type == '#') {
    MoveTo(inside);
    return Comment();
  }
  if (type == '%') {
    const size_t raw = EndOfNamedTag(inside, "raw", /*trims_newline=*/false);
    if (raw != std::string::npos) {
      MoveTo(raw);
      return Raw();
    }
  }
  const bool variable = type == '{';
  MoveTo(inside);
  Add(variable ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
  open_.clear();
  while (!EndOfTag(variable)) {
    if (pos_ >= source_.size()) return Error("the template ends inside a tag");
    RETURN_IF_ERROR(TagToken());
  }
  return absl::OkStatus();
}

bool Lexer::EndOfTag(bool variable) {
  if (!open_.empty()) return false;
  const int line = line_;
  if (Skip(variable ? "-}}" : "-%}")) {
    SkipSpace();
  } else if (variable ? !Skip("}}") : !(Skip("+%}") || Skip("%}\n") || Skip("%}"))) {
    return false;
  }
  tokens_.push_back({variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, "", line});
  return true;
}

absl::Status Lexer::Comment() {
  const size_t end = source_.find("#}", pos_);
  if (end == std::string::npos) return Error("a comment has no end");
  const char sign = end > pos_ ? source_[end - 1] : '\0';
  MoveTo(end + 2);
  if (sign == '-') {
    SkipSpace();
  } else if (sign != '+') {
    Skip("\n");
  }
  return absl::OkStatus();
}

absl::Status Lexer::Raw() {
  for (size_t tag = pos_; (tag = source_.find("{%", tag)) != std::string::npos; tag += 2) {
    size_t inside = tag + 2;
    const char sign = inside < source_.size() ? source_[inside] : '\0';
    if (sign == '-' || sign == '+') ++inside;
    const size_t end = EndOfNamedTag(inside, "endraw", /*trims_newline=*/true);
    if (end == std::string::npos) continue;
    AddData(pos_, tag, sign, /*variable=*/false);
    MoveTo(end);
    return absl::OkStatus();
  }
  return Error("'raw' has no 'endraw'");
}

absl::Status Lexer::Balance(char op) {
  if (op == '(') open_ += ')';
  if (op == '[') open_ += ']';
  if (op == '{') open_ += '}';
  if (op != ')' && op != ']' && op != '}') return absl::OkStatus();
  if (open_.empty() || open_.back() != op) return Error(fmt::format("'{}' closes nothing", op));
  open_.pop_back();
  return absl::OkStatus();
}

absl::Status Lexer::TagToken() {
  if (SkipSpace()) return absl::OkStatus();
  TokenKind kind;
  size_t size = ScanNumber(Rest(), pos_ > 0 && source_[pos_ - 1] == '.', &kind);
  if (size > 0) {
    std::string digits = source_.substr(pos_, size);
    std::erase(digits, '_');
    Add(kind, std::move(digits));
  } else if ((size = ScanName(Rest())) > 0) {
    Add(TokenKind::kName, source_.substr(pos_, size));
  } else if (source_[pos_] == '\'' || source_[pos_] == '"') {
    size = ScanString(Rest());
    if (size == 0) return Error("a string has no end");
    auto text = UnescapeString(Rest().substr(1, size - 2));
    if (!text.ok()) return Error(std::string(text.status().message()));
    Add(TokenKind::kString, *std::move(text));
  } else if ((size = ScanOperator(Rest())) > 0) {
    RETURN_IF_ERROR(Balance(source_[pos_]));
    Add(TokenKind::kOperator, source_.substr(pos_, size));
  } else {
    return Error(fmt::format("unexpected character '{}'", Rest().substr(0, CharLength(source_[pos_]))));
  }
  MoveTo(pos_ + size);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  if (source.size() > kMaxSource) return InvalidArgument("the template has more than {} bytes", kMaxSource);
  if (!IsUtf8(source)) return InvalidArgument("the template is not UTF-8");
  return Lexer(NormalizeNewlines(source)).Run();
}

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return fmt::format("'{}'", token.text);
  }
}

}  // namespace hydrad::jinja
