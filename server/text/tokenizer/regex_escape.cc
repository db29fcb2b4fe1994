#include "server/text/tokenizer/regex_escape.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/text/tokenizer/unicode_tables.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

// White_Space, and everything else.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x00-\x08\x0e-\x1f\x21-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kHex = "0-9A-Fa-f";
constexpr std::string_view kNotHex = R"(\x00-\x2f\x3a-\x40\x47-\x60\x67-\x{10ffff})";

// Class items of a property; empty if it is not known.
std::string PropertyItems(std::string_view name) {
  const auto table = RegexProperties();
  auto it = std::find_if(table.begin(), table.end(), [&](const RegexProperty& p) { return p.name == name; });
  if (it == table.end()) return "";
  std::string items(it->base);
  for (const CodePointRange& range : it->added) {
    AppendRegexChar(range.first, &items);
    if (range.last == range.first) continue;
    items.push_back('-');
    AppendRegexChar(range.last, &items);
  }
  return items;
}

// The escape behind \p or \P: {name} or {^name}.
absl::StatusOr<RegexEscape> ReadProperty(RegexCursor* cursor, bool negated) {
  const size_t close = cursor->in.find('}', cursor->pos);
  if (!cursor->Take("{") || close == std::string_view::npos) return cursor->Bad("\\p without {name}");
  if (cursor->Take("^")) negated = !negated;
  const std::string_view name = cursor->in.substr(cursor->pos, close - cursor->pos);
  std::string items = name == "w" ? "" : PropertyItems(name);
  if (items.empty()) return cursor->Unsupported(fmt::format("the property '{}'", name));
  cursor->pos = close + 1;
  return RegexEscape{RegexEscape::kSet, 0, std::move(items), negated};
}

// The escape behind \x or \u: {1 to 8 digits}, one or two digits, or four.
absl::StatusOr<RegexEscape> ReadHex(RegexCursor* cursor, size_t max_digits) {
  const bool braces = max_digits == 8;
  if (braces) cursor->Take("{");
  uint32_t value = 0;
  size_t digits = 0;
  for (; digits < max_digits && !cursor->AtEnd(); ++digits, ++cursor->pos) {
    const int digit = std::tolower(static_cast<unsigned char>(cursor->in[cursor->pos]));
    if (!std::isxdigit(digit)) break;
    value = value * 16 + static_cast<uint32_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
  }
  const bool complete = digits > 0 && (max_digits != 4 || digits == 4) && (!braces || cursor->Take("}"));
  if (!complete) return cursor->Bad("broken hex escape");
  // In Ruby's syntax \x80 and up is a raw byte of the encoding.
  if (max_digits == 2 && value >= 0x80) return cursor->Unsupported("\\x above 7f without braces");
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return cursor->Bad("not a code point");
  return RegexEscape{RegexEscape::kChar, value};
}

// One of \s \d \w \h or, negated, of their upper-case forms; `kind` is the lower-case letter.
RegexEscape Shorthand(char kind, bool negated) {
  RegexEscape escape{RegexEscape::kSet};
  escape.negated = negated;
  if (kind == 's') {
    escape.text = kSpace;
    escape.complement = kNotSpace;
    escape.closed_under_case = true;
  } else if (kind == 'h') {
    escape.text = kHex;
    escape.complement = kNotHex;
  } else {
    escape.text = PropertyItems(kind == 'd' ? "Nd" : "w");
  }
  return escape;
}

}  // namespace

absl::Status RegexCursor::Bad(std::string_view what) const {
  return InvalidArgument("regular expression, byte {}: {}", pos, what);
}

absl::Status RegexCursor::Unsupported(std::string_view what) const {
  return InvalidArgument("regular expression, byte {}: {} is not supported", pos, what);
}

absl::StatusOr<RegexEscape> ReadRegexEscape(RegexCursor* cursor) {
  constexpr std::string_view kControlNames = "tnrfvae", kControls = "\t\n\r\f\v\a\x1b";
  ++cursor->pos;
  if (cursor->AtEnd()) return cursor->Bad("\\ at the end");
  const size_t start = cursor->pos;
  const uint32_t c = NextCodePoint(cursor->in, &cursor->pos);
  const char letter = c < 0x80 ? static_cast<char>(c) : '\0';
  const std::string_view written = cursor->in.substr(start, cursor->pos - start);
  if (letter != '\0' && !std::isalnum(letter)) return RegexEscape{RegexEscape::kChar, c};
  if (const size_t control = kControlNames.find(written); control != std::string_view::npos) {
    return RegexEscape{RegexEscape::kChar, static_cast<uint32_t>(kControls[control])};
  }
  switch (letter) {
    case 's':
    case 'd':
    case 'w':
    case 'h':
      return Shorthand(letter, /*negated=*/false);
    case 'S':
    case 'D':
    case 'W':
    case 'H':
      return Shorthand(static_cast<char>(std::tolower(letter)), /*negated=*/true);
    case 'A':
    case 'z':
    case 'Z':
      return RegexEscape{RegexEscape::kAnchor, 0, fmt::format("\\{}", letter)};
    case 'p':
    case 'P':
      return ReadProperty(cursor, letter == 'P');
    case 'x':
      return ReadHex(cursor, cursor->Peek("{") ? 8 : 2);
    case 'u':
      return ReadHex(cursor, 4);
    default:
      return cursor->Unsupported(fmt::format("'\\{}'", written));
  }
}

void AppendRegexChar(uint32_t c, std::string* out) {
  if (c < 0x80 && std::isalnum(static_cast<int>(c))) {
    out->push_back(static_cast<char>(c));
  } else {
    out->append(fmt::format("\\x{{{:x}}}", c));
  }
}

}  // namespace hydrad
