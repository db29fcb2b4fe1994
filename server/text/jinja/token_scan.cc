#include "server/text/jinja/token_scan.h"

#include <cctype>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/unicode.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

bool IsDigit(std::string_view text, size_t pos, int base) {
  if (pos >= text.size()) return false;
  const unsigned char c = static_cast<unsigned char>(text[pos]);
  if (base == 16) return std::isxdigit(c) != 0;
  return c >= '0' && c < '0' + base;
}

// Behind digits, single '_' between them allowed, or `pos` where there are none.
size_t SkipDigits(std::string_view text, size_t pos, int base = 10) {
  if (!IsDigit(text, pos, base)) return pos;
  for (++pos;; ++pos) {
    if (IsDigit(text, pos, base)) continue;
    if (pos < text.size() && text[pos] == '_' && IsDigit(text, pos + 1, base)) continue;
    return pos;
  }
}

// Behind a float: digits with a fraction, an exponent or both. 0 for none.
size_t ScanFloat(std::string_view text) {
  const size_t whole = SkipDigits(text, 0);
  if (whole == 0) return 0;
  size_t end = whole;
  if (end < text.size() && text[end] == '.') {
    const size_t fraction = SkipDigits(text, end + 1);
    if (fraction > end + 1) end = fraction;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t digits = end + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
    const size_t exponent = SkipDigits(text, digits);
    if (exponent > digits) end = exponent;
  }
  return end == whole ? 0 : end;
}

size_t ScanInteger(std::string_view text) {
  if (text.size() > 1 && text[0] == '0') {
    const int letter = std::tolower(static_cast<unsigned char>(text[1]));
    const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (base != 0) {
      const size_t begin = text[2 < text.size() ? 2 : 1] == '_' ? 3 : 2;
      const size_t end = SkipDigits(text, begin, base);
      if (end > begin) return end;
    }
  }
  if (!text.empty() && text[0] == '0') {
    size_t end = 1;
    while (end < text.size() &&
           (text[end] == '0' || (text[end] == '_' && text.substr(end + 1).starts_with('0')))) {
      ++end;
    }
    return end;
  }
  return SkipDigits(text, 0);
}

absl::StatusOr<uint32_t> HexDigits(std::string_view text, size_t pos, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!IsDigit(text, pos + i, 16)) return InvalidArgument("a broken escape in a string");
    const char c = text[pos + i];
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
    return InvalidArgument("an escape in a string that is no character");
  }
  return value;
}

}  // namespace

size_t ScanNumber(std::string_view text, bool behind_dot, TokenKind* kind) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return 0;
  *kind = TokenKind::kFloat;
  if (!behind_dot) {
    if (const size_t size = ScanFloat(text); size > 0) return size;
  }
  *kind = TokenKind::kInteger;
  return ScanInteger(text);
}

size_t ScanName(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    size_t next = pos;
    if (!IsWordChar(NextCodePoint(text, &next))) return pos;
    pos = next;
  }
  return text.size();
}

size_t ScanString(std::string_view text) {
  for (size_t pos = 1; pos < text.size(); ++pos) {
    if (text[pos] == text[0]) return pos + 1;
    if (text[pos] == '\\') ++pos;
  }
  return 0;
}

size_t ScanOperator(std::string_view text) {
  for (const std::string_view op : {"**", "//", "==", "!=", ">=", "<="}) {
    if (text.starts_with(op)) return 2;
  }
  return std::string_view("+-/*%~[](){}><=.:|,;").find(text[0]) == std::string_view::npos ? 0 : 1;
}

absl::StatusOr<std::string> UnescapeString(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size(); ++pos) {
    if (text[pos] != '\\' || pos + 1 == text.size()) {
      out += text[pos];
      continue;
    }
    const char escape = text[++pos];
    static constexpr std::string_view kFrom = "\\'\"abfnrtv";
    static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    const size_t digits = escape == 'x' ? 2 : escape == 'u' ? 4 : escape == 'U' ? 8 : 0;
    if (const size_t simple = kFrom.find(escape); simple != std::string_view::npos) {
      out += kTo[simple];
    } else if (escape == '\n') {  // an escaped end of line goes
    } else if (digits > 0) {
      ASSIGN_OR_RETURN(const uint32_t code_point, HexDigits(text, pos + 1, digits));
      AppendUtf8(code_point, &out);
      pos += digits;
    } else if (escape >= '0' && escape <= '7') {
      uint32_t value = 0;
      size_t end = pos;
      for (; end < pos + 3 && IsDigit(text, end, 8); ++end) value = value * 8 + (text[end] - '0');
      AppendUtf8(value, &out);
      pos = end - 1;
    } else if (escape == 'N') {
      return InvalidArgument("the escape \\N in a string is not supported");
    } else {
      out += '\\';
      out += escape;
    }
  }
  return out;
}

}  // namespace hydrad::jinja
