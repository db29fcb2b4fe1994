#include "server/model/tokenizer/regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <span>

#include "server/model/tokenizer/unicode_tables.h"
#include "server/model/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr int kMaxDepth = 32;
constexpr uint32_t kMaxRepeat = 1000;

// White_Space, and everything else.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kHex = "0-9A-Fa-f";
constexpr std::string_view kNotHex = R"(\x00-\x2f\x3a-\x40\x47-\x60\x67-\x{10ffff})";

void AppendChar(uint32_t c, std::string* out) {
  if (c < 0x80 && std::isalnum(static_cast<int>(c))) {
    out->push_back(static_cast<char>(c));
  } else {
    out->append(fmt::format("\\x{{{:x}}}", c));
  }
}

// Class items of a property; empty if it is not known.
std::string PropertyItems(std::string_view name) {
  const auto table = RegexProperties();
  auto it = std::find_if(table.begin(), table.end(), [&](const RegexProperty& p) { return p.name == name; });
  if (it == table.end()) return "";
  std::string items(it->base);
  for (const CodePointRange& range : it->added) {
    AppendChar(range.first, &items);
    if (range.last == range.first) continue;
    items.push_back('-');
    AppendChar(range.last, &items);
  }
  return items;
}

// What an escape means.
struct Escape {
  enum Kind { kChar, kSet, kAnchor } kind;
  uint32_t c = 0;         // kChar
  std::string text = {};  // kSet: class items; kAnchor: as it is written for PCRE2
  bool negated = false;   // kSet: everything but the items
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    RETURN_IF_ERROR(Alternatives(0, false));
    if (pos_ != in_.size()) return Bad("unmatched )");
    return std::move(out_);
  }

 private:
  bool AtEnd() const { return pos_ == in_.size(); }
  bool Peek(std::string_view text) const { return in_.substr(pos_).starts_with(text); }
  bool Take(std::string_view text) {
    if (!Peek(text)) return false;
    pos_ += text.size();
    return true;
  }
  absl::Status Bad(std::string_view what) const {
    return InvalidArgument("regular expression, byte {}: {}", pos_, what);
  }
  absl::Status Unsupported(std::string_view what) const {
    return InvalidArgument("regular expression, byte {}: {} is not supported", pos_, what);
  }

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
    const char lead = in_[pos_];
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
        *literal = NextCodePoint(in_, &pos_);
        AppendChar(*literal, &out_);
        return absl::OkStatus();
    }
    ++pos_;
    return absl::OkStatus();
  }

  absl::Status Group(int depth, bool caseless, bool* repeatable) {
    const size_t start = pos_;
    if (Take("(?i:")) {
      out_.append("(?i:");
      caseless = true;
    } else if (Take("(?:")) {
      out_.append("(?:");
    } else if (Take("(?>")) {
      out_.append("(?>");
    } else if (Peek("(?=") || Peek("(?!") || Peek("(?<=") || Peek("(?<!")) {
      const size_t length = in_[pos_ + 2] == '<' ? 4 : 3;
      out_.append(in_.substr(pos_, length));
      pos_ += length;
      *repeatable = false;
    } else if (Peek("(?")) {
      return Unsupported(fmt::format("'{}...'", in_.substr(pos_, 3)));
    } else {
      Take("(");
      out_.append("(?:");  // captures are never read
    }
    RETURN_IF_ERROR(Alternatives(depth + 1, caseless));
    if (!Take(")")) {
      pos_ = start;
      return Bad("( without )");
    }
    out_.push_back(')');
    return absl::OkStatus();
  }

  absl::Status EscapeAtom(bool caseless, uint32_t* literal, bool* repeatable) {
    ASSIGN_OR_RETURN(const Escape escape, ReadEscape());
    switch (escape.kind) {
      case Escape::kChar:
        *literal = escape.c;
        AppendChar(escape.c, &out_);
        break;
      case Escape::kSet:
        if (caseless && escape.text != kSpace) return Unsupported("a set in (?i:");
        out_.append(escape.negated ? "[^" : "[").append(escape.text).push_back(']');
        break;
      case Escape::kAnchor:
        out_.append(escape.text);
        *repeatable = false;
        break;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Escape> ReadEscape() {
    ++pos_;
    if (AtEnd()) return Bad("\\ at the end");
    const size_t start = pos_;
    const uint32_t c = NextCodePoint(in_, &pos_);
    switch (c) {
      case 't':
        return Escape{Escape::kChar, '\t'};
      case 'n':
        return Escape{Escape::kChar, '\n'};
      case 'r':
        return Escape{Escape::kChar, '\r'};
      case 'f':
        return Escape{Escape::kChar, '\f'};
      case 'v':
        return Escape{Escape::kChar, '\v'};
      case 'a':
        return Escape{Escape::kChar, 7};
      case 'e':
        return Escape{Escape::kChar, 27};
      case 's':
      case 'S':
        return Escape{Escape::kSet, 0, std::string(kSpace), c == 'S'};
      case 'd':
      case 'D':
        return Escape{Escape::kSet, 0, PropertyItems("Nd"), c == 'D'};
      case 'w':
      case 'W':
        return Escape{Escape::kSet, 0, PropertyItems("w"), c == 'W'};
      case 'h':
      case 'H':
        return Escape{Escape::kSet, 0, std::string(kHex), c == 'H'};
      case 'A':
      case 'z':
      case 'Z':
        return Escape{Escape::kAnchor, 0, fmt::format("\\{}", static_cast<char>(c))};
      case 'p':
      case 'P':
        return ReadProperty(c == 'P');
      case 'x':
        return ReadHex(Peek("{") ? 8 : 2);
      case 'u':
        return ReadHex(4);
      default:
        break;
    }
    if (c < 0x80 && !std::isalnum(static_cast<int>(c))) return Escape{Escape::kChar, c};
    return Unsupported(fmt::format("'\\{}'", in_.substr(start, pos_ - start)));
  }

  absl::StatusOr<Escape> ReadProperty(bool negated) {
    const size_t close = in_.find('}', pos_);
    if (!Take("{") || close == std::string_view::npos) return Bad("\\p without {name}");
    if (Take("^")) negated = !negated;
    const std::string_view name = in_.substr(pos_, close - pos_);
    std::string items = name == "w" ? "" : PropertyItems(name);
    if (items.empty()) return Unsupported(fmt::format("the property '{}'", name));
    pos_ = close + 1;
    return Escape{Escape::kSet, 0, std::move(items), negated};
  }

  // \x{1 to 8 digits}, \x with one or two digits, \u with four.
  absl::StatusOr<Escape> ReadHex(size_t max_digits) {
    const bool braces = max_digits == 8;
    if (braces) Take("{");
    uint32_t value = 0;
    size_t digits = 0;
    while (digits < max_digits && !AtEnd() && std::isxdigit(static_cast<unsigned char>(in_[pos_]))) {
      const int digit = std::tolower(in_[pos_++]);
      value = value * 16 + static_cast<uint32_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
      ++digits;
    }
    if (digits == 0 || (max_digits == 4 && digits != 4) || (braces && !Take("}")))
      return Bad("broken hex escape");
    // In Ruby's syntax \x80 and up is a raw byte of the encoding.
    if (max_digits == 2 && value >= 0x80) return Unsupported("\\x above 7f without braces");
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return Bad("not a code point");
    return Escape{Escape::kChar, value};
  }

  // A class into `out`, with brackets, or only its items if it stands in another class.
  absl::Status Class(int depth, bool caseless, bool nested, std::string* out) {
    if (depth > kMaxDepth) return Bad("nested too deeply");
    const size_t start = pos_;
    Take("[");
    if (Peek(":")) return Unsupported("a POSIX class");
    const bool negated = Take("^");
    if (negated && nested) return Unsupported("a negated class in a class");
    if (Peek("]")) return Unsupported("] at the start of a class");
    if (!nested) out->append(negated ? "[^" : "[");
    while (!AtEnd() && !Peek("]")) RETURN_IF_ERROR(ClassItem(depth, caseless, out));
    if (!Take("]")) {
      pos_ = start;
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
    AppendChar(*first, out);
    if (last == *first) return absl::OkStatus();
    out->push_back('-');
    AppendChar(last, out);
    return absl::OkStatus();
  }

  // One character of a class, or nullopt and the items of a set.
  absl::StatusOr<std::optional<uint32_t>> ClassChar(std::string* set) {
    if (AtEnd()) return Bad("[ without ]");
    if (!Peek("\\")) return NextCodePoint(in_, &pos_);
    const size_t start = pos_;
    ASSIGN_OR_RETURN(Escape escape, ReadEscape());
    if (escape.kind == Escape::kChar) return escape.c;
    if (escape.kind == Escape::kAnchor) return Unsupported("an anchor in a class");
    if (escape.negated) {
      if (escape.text == kSpace) {
        escape.text = kNotSpace;
      } else if (escape.text == kHex) {
        escape.text = kNotHex;
      } else {
        return Unsupported(fmt::format("'{}' in a class", in_.substr(start, pos_ - start)));
      }
    }
    *set = std::move(escape.text);
    return std::nullopt;
  }

  absl::Status Quantifier(bool repeatable) {
    std::string text;
    bool interval = false;
    if (Peek("*") || Peek("+") || Peek("?")) {
      text = in_[pos_++];
    } else if (Take("{")) {
      interval = true;
      RETURN_IF_ERROR(Interval(&text));
    } else {
      return absl::OkStatus();
    }
    if (!repeatable) return Unsupported("a repeated anchor or look-around");
    if (Peek("?")) {
      if (interval && text.find(',') == std::string::npos) return Unsupported("{n}?");
      text.push_back(in_[pos_++]);
    } else if (Peek("+")) {
      if (interval) return Unsupported("{n,m}+");
      text.push_back(in_[pos_++]);
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
    while (!AtEnd() && std::isdigit(static_cast<unsigned char>(in_[pos_]))) {
      *value = value->value_or(0) * 10 + static_cast<uint32_t>(in_[pos_++] - '0');
      if (**value > kMaxRepeat) return Bad("a repeat above 1000");
    }
    return absl::OkStatus();
  }

  const std::string_view in_;
  size_t pos_ = 0;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslateRegex(std::string_view pattern) { return Translator(pattern).Run(); }

std::string LiteralRegex(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) AppendChar(NextCodePoint(text, &pos), &out);
  return out;
}

}  // namespace hydrad
