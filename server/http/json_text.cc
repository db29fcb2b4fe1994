#include "server/http/json_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <iterator>

#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {

void AppendQuoted(std::string_view text, std::string* out) {
  out->push_back('"');
  size_t plain = 0;  // from here on nothing had to be escaped
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) continue;
    out->append(text.substr(plain, i - plain));
    plain = i + 1;
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        fmt::format_to(std::back_inserter(*out), "\\u{:04x}", c);
    }
  }
  out->append(text.substr(plain));
  out->push_back('"');
}

std::string Quoted(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  AppendQuoted(text, &out);
  return out;
}

void AppendNumber(double value, std::string* out) {
  if (!std::isfinite(value)) {
    out->append("null");
    return;
  }
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out->append(digits, end);
}

std::string TokenText(std::string_view bytes) {
  if (IsUtf8(bytes)) return std::string(bytes);
  std::string out = "bytes:";
  for (const char c : bytes)
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

}  // namespace hydrad
