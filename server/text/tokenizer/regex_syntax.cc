#include "server/text/tokenizer/regex_syntax.h"

#include <fmt/core.h>

#include <cctype>
#include <optional>

#include "server/base/status_macros.h"
#include "server/text/tokenizer/regex_escape.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr int kMaxDepth = 32;
constexpr uint32_t kMaxRepeat = 1000;

class Translator : private RegexCursor {
 public:
  explicit Translator(std::string_view pattern) : RegexCursor{pattern} {}

  absl::StatusOr<std::string> Run() {
    RETURN_IF_ERROR(Alternatives(0, false));
    if (pos != in.size()) return Bad("unmatched )");
    return std::move(out_);
  }

 private:
  // Up to the end or the ) that closes this level.
  absl::Status Alternatives(int depth, bool caseless) {
    if (depth > kMaxDepth) return Bad("nested too deeply");
    uint32_t previous = 0;  // literal before this one, for multi-character case folds
    while (!AtEnd() && !Peek(")")) {
      if (Take("|")) {
        out_.push_back('|');
        previous = 0;
        continue;
      }
      uint32_t literal = 0;
      bool repeatable = true;
      RETURN_IF_ERROR(Atom(depth, caseless, &literal, &repeatable));
      if (caseless) RETURN_IF_ERROR(CheckCaseless(previous, literal));
      previous = literal;
      RETURN_IF_ERROR(Quantifier(repeatable));
    }
    return absl::OkStatus();
  }

  // Ignoring case, Oniguruma lets one character match two (ß and ss, ﬁ and fi); PCRE2 does not.
  absl::Status CheckCaseless(uint32_t previous, uint32_t literal) const {
    if (literal >= 0x80) return Unsupported("a character outside ASCII in (?i:");
    const char pair[] = {static_cast<char>(std::tolower(static_cast<int>(previous))),
                         static_cast<char>(std::tolower(static_cast<int>(literal))), 0};
    for (std::string_view folded : {"ff", "fi", "fl", "ss", "st"}) {
      if (folded == pair) return Unsupported(fmt::format("'{}' in (?i:", pair));
    }
    return absl::OkStatus();
  }

  absl::Status Atom(int depth, bool caseless, uint32_t* literal, bool* repeatable) {
    const char lead = in[pos];
    switch (lead) {
      case '(':
        return Group(depth, caseless, repeatable);
      case '[': {
        std::string items;
        RETURN_IF_ERROR(Class(depth, caseless, /*nested=*/false, &items));
        out_.append(items);
        return absl::OkStatus();
      }
      case '\\':
        return EscapeAtom(caseless, literal, repeatable);
      case '.':
        out_.append("[^\\n]");
        break;
      case '^':
        out_.append("(?m:^)");
        *repeatable = false;
        break;
      case '$':
        out_.append("(?m:$)");
        *repeatable = false;
        break;
      case '*':
      case '+':
      case '?':
        return Bad("a quantifier without anything before it");
      case '{':
        return Unsupported("'{' as a character");
      default:
        *literal = NextCodePoint(in, &pos);
        AppendRegexChar(*literal, &out_);
        return absl::OkStatus();
    }
    ++pos;
    return absl::OkStatus();
  }

  absl::Status Group(int depth, bool caseless, bool* repeatable) {
    const size_t start = pos;
    if (Take("(?i:")) {
      out_.append("(?i:");
      caseless = true;
    } else if (Take("(?:")) {
      out_.append("(?:");
    } else if (Take("(?>")) {
      out_.append("(?>");
    } else if (Peek("(?=") || Peek("(?!") || Peek("(?<=") || Peek("(?<!")) {
      const size_t length = in[pos + 2] == '<' ? 4 : 3;
      out_.append(in.substr(pos, length));
      pos += length;
      *repeatable = false;
    } else if (Peek("(?")) {
      return Unsupported(fmt::format("'{}...'", in.substr(pos, 3)));
    } else {
      Take("(");
      out_.append("(?:");  // captures are never read
    }
    RETURN_IF_ERROR(Alternatives(depth + 1, caseless));
    if (!Take(")")) {
      pos = start;
      return Bad("( without )");
    }
    out_.push_back(')');
    return absl::OkStatus();
  }

  absl::Status EscapeAtom(bool caseless, uint32_t* literal, bool* repeatable) {
    ASSIGN_OR_RETURN(const RegexEscape escape, ReadRegexEscape(this));
    switch (escape.kind) {
      case RegexEscape::kChar:
        *literal = escape.c;
        AppendRegexChar(escape.c, &out_);
        break;
      case RegexEscape::kSet:
        if (caseless && !escape.closed_under_case) return Unsupported("a set in (?i:");
        out_.append(escape.negated ? "[^" : "[").append(escape.text).push_back(']');
        break;
      case RegexEscape::kAnchor:
        out_.append(escape.text);
        *repeatable = false;
        break;
    }
    return absl::OkStatus();
  }

  // A class into `out`, with brackets, or only its items if it stands in another class.
  absl::Status Class(int depth, bool caseless, bool nested, std::string* out) {
    if (depth > kMaxDepth) return Bad("nested too deeply");
    const size_t start = pos;
    Take("[");
    if (Peek(":")) return Unsupported("a POSIX class");
    const bool negated = Take("^");
    if (negated && nested) return Unsupported("a negated class in a class");
    if (Peek("]")) return Unsupported("] at the start of a class");
    if (!nested) out->append(negated ? "[^" : "[");
    while (!AtEnd() && !Peek("]")) RETURN_IF_ERROR(ClassItem(depth, caseless, out));
    if (!Take("]")) {
      pos = start;
      return Bad("[ without ]");
    }
    if (!nested) out->push_back(']');
    return absl::OkStatus();
  }

  absl::Status ClassItem(int depth, bool caseless, std::string* out) {
    if (Peek("[")) return Class(depth + 1, caseless, /*nested=*/true, out);
    if (Peek("&&")) return Unsupported("&& in a class");
    std::string set;
    ASSIGN_OR_RETURN(const std::optional<uint32_t> first, ClassChar(&set));
    if (!first) {
      if (caseless) return Unsupported("a set in (?i:");
      out->append(set);
      // A - after a set is a character, as PCRE2 agrees, but what follows it could be taken for a range.
      if (Take("-")) out->append("\\x{2d}");
      return absl::OkStatus();
    }
    uint32_t last = *first;
    if (Peek("-") && !Peek("-]") && !Peek("-[") && !Peek("-\\p") && !Peek("-\\s") && !Peek("-&&")) {
      Take("-");
      ASSIGN_OR_RETURN(const std::optional<uint32_t> end, ClassChar(&set));
      if (!end) return Unsupported("a range that ends with a set");
      last = *end;
      if (last < *first) return Bad("a range that runs backwards");
    }
    if (caseless && last >= 0x80) return Unsupported("a character outside ASCII in (?i:");
    AppendRegexChar(*first, out);
    if (last == *first) return absl::OkStatus();
    out->push_back('-');
    AppendRegexChar(last, out);
    return absl::OkStatus();
  }

  // One character of a class, or nullopt and the items of a set.
  absl::StatusOr<std::optional<uint32_t>> ClassChar(std::string* set) {
    if (AtEnd()) return Bad("[ without ]");
    if (!Peek("\\")) return NextCodePoint(in, &pos);
    const size_t start = pos;
    ASSIGN_OR_RETURN(RegexEscape escape, ReadRegexEscape(this));
    if (escape.kind == RegexEscape::kChar) return escape.c;
    if (escape.kind == RegexEscape::kAnchor) return Unsupported("an anchor in a class");
    if (escape.negated && escape.complement.empty()) {
      return Unsupported(fmt::format("'{}' in a class", in.substr(start, pos - start)));
    }
    *set = std::move(escape.negated ? escape.complement : escape.text);
    return std::nullopt;
  }

  absl::Status Quantifier(bool repeatable) {
    std::string text;
    bool interval = false;
    if (Peek("*") || Peek("+") || Peek("?")) {
      text = in[pos++];
    } else if (Take("{")) {
      interval = true;
      RETURN_IF_ERROR(Interval(&text));
    } else {
      return absl::OkStatus();
    }
    if (!repeatable) return Unsupported("a repeated anchor or look-around");
    if (Peek("?")) {
      if (interval && text.find(',') == std::string::npos) return Unsupported("{n}?");
      text.push_back(in[pos++]);
    } else if (Peek("+")) {
      if (interval) return Unsupported("{n,m}+");
      text.push_back(in[pos++]);
    }
    if (Peek("*") || Peek("+") || Peek("?") || Peek("{")) return Unsupported("a quantifier on a quantifier");
    out_.append(text);
    return absl::OkStatus();
  }

  // n} n,} n,m} ,m} as PCRE2 writes them.
  absl::Status Interval(std::string* text) {
    std::optional<uint32_t> low, high;
    RETURN_IF_ERROR(Number(&low));
    const bool comma = Take(",");
    if (comma) RETURN_IF_ERROR(Number(&high));
    if (!Take("}") || (!low && !high)) return Unsupported("'{' as a character");
    if (high && low.value_or(0) > *high) return Unsupported("{n,m} with n above m");
    *text =
        fmt::format("{{{}{}{}}}", low.value_or(0), comma ? "," : "", high ? fmt::format("{}", *high) : "");
    return absl::OkStatus();
  }

  absl::Status Number(std::optional<uint32_t>* value) {
    while (!AtEnd() && std::isdigit(static_cast<unsigned char>(in[pos]))) {
      *value = value->value_or(0) * 10 + static_cast<uint32_t>(in[pos++] - '0');
      if (**value > kMaxRepeat) return Bad("a repeat above 1000");
    }
    return absl::OkStatus();
  }

  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateRegex(std::string_view pattern) { return Translator(pattern).Run(); }

std::string LiteralRegex(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) AppendRegexChar(NextCodePoint(text, &pos), &out);
  return out;
}

}  // namespace hydrad
