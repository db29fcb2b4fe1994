#include "server/text/jinja/number_format.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/python_text.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

bool IsAlign(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

// Reads a number at `*pos`; -1 where there are no digits.
absl::StatusOr<int64_t> ReadCount(std::string_view text, size_t* pos) {
  int64_t value = -1;
  for (; *pos < text.size() && text[*pos] >= '0' && text[*pos] <= '9'; ++*pos) {
    value = std::max<int64_t>(value, 0) * 10 + (text[*pos] - '0');
    if (value > kMaxWidth) return InvalidArgument("a format's width or precision is above {}", kMaxWidth);
  }
  return value;
}

std::string SignOf(bool negative, const FieldFormat& field) {
  if (negative) return "-";
  return field.sign == '-' ? "" : std::string(1, field.sign);
}

// Puts ',' between groups of three digits of the whole part.
std::string Grouped(std::string digits) {
  size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
  while (end > 3) {
    end -= 3;
    digits.insert(end, ",");
  }
  return digits;
}

// C's printf of one float.
std::string Printf(const char* format, int precision, double value) {
  const int size = std::snprintf(nullptr, 0, format, precision, value);
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), format, precision, value);
  out.pop_back();
  return out;
}

std::string RealDigits(double value, const FieldFormat& field) {
  const int precision = field.precision < 0 ? 6 : static_cast<int>(field.precision);
  switch (field.type) {
    case 'e':
      return Printf(field.alternate ? "%#.*e" : "%.*e", precision, value);
    case 'E':
      return Printf(field.alternate ? "%#.*E" : "%.*E", precision, value);
    case 'f':
      return Printf(field.alternate ? "%#.*f" : "%.*f", precision, value);
    case 'F':
      return Printf(field.alternate ? "%#.*F" : "%.*F", precision, value);
    case '%':
      return Printf("%.*f", precision, value * 100) + "%";
    case 'G':
      return Printf(field.alternate ? "%#.*G" : "%.*G", precision, value);
    default:
      return Printf(field.alternate ? "%#.*g" : "%.*g", precision, value);
  }
}

}  // namespace

absl::StatusOr<FieldFormat> ParseFieldFormat(std::string_view spec) {
  FieldFormat field;
  size_t pos = 0;
  const size_t first = spec.empty() ? 0 : CharLength(spec[0]);
  if (first < spec.size() && IsAlign(spec[first])) {
    field.fill = std::string(spec.substr(0, first));
    field.align = spec[first];
    pos = first + 1;
  } else if (!spec.empty() && IsAlign(spec[0])) {
    field.align = spec[0];
    pos = 1;
  }
  const auto skip = [&](char c) { return pos < spec.size() && spec[pos] == c && ++pos > 0; };
  if (pos < spec.size() && (spec[pos] == '+' || spec[pos] == '-' || spec[pos] == ' '))
    field.sign = spec[pos++];
  field.alternate = skip('#');
  if (skip('0') && field.align == '\0') {
    field.fill = "0";
    field.align = '=';
  }
  ASSIGN_OR_RETURN(field.width, ReadCount(spec, &pos));
  field.width = std::max<int64_t>(field.width, 0);
  field.grouped = skip(',');
  if (skip('.')) {
    ASSIGN_OR_RETURN(field.precision, ReadCount(spec, &pos));
    if (field.precision < 0) return InvalidArgument("a format without a precision behind '.'");
  }
  if (pos < spec.size()) field.type = spec[pos++];
  if (pos != spec.size()) return InvalidArgument("the format '{}' is not supported", spec);
  return field;
}

absl::StatusOr<std::string> FormatInteger(int64_t value, const FieldFormat& field) {
  const uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string digits, prefix;
  switch (field.type) {
    case '\0':
    case 'd':
      digits = field.grouped ? Grouped(std::to_string(size)) : std::to_string(size);
      break;
    case 'x':
      digits = fmt::format("{:x}", size), prefix = "0x";
      break;
    case 'X':
      digits = fmt::format("{:X}", size), prefix = "0X";
      break;
    case 'o':
      digits = fmt::format("{:o}", size), prefix = "0o";
      break;
    case 'b':
      digits = fmt::format("{:b}", size), prefix = "0b";
      break;
    default:
      return InvalidArgument("the format '{}' does not go with an integer", field.type);
  }
  return SignOf(value < 0, field) + (field.alternate ? prefix : "") + digits;
}

absl::StatusOr<std::string> FormatReal(double value, const FieldFormat& field) {
  if (field.type != '\0' && std::string_view("eEfFgG%").find(field.type) == std::string_view::npos) {
    return InvalidArgument("the format '{}' does not go with a float", field.type);
  }
  const std::string sign = SignOf(std::signbit(value) && !std::isnan(value), field);
  if (std::isnan(value) || std::isinf(value)) {
    const bool upper = field.type == 'E' || field.type == 'F' || field.type == 'G';
    const std::string text = std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
    return sign + text + (field.type == '%' ? "%" : "");
  }
  const double size = std::fabs(value);
  if (field.type == '\0' && field.precision < 0) {
    const std::string digits = FloatRepr(size);
    return sign + (field.grouped ? Grouped(digits) : digits);
  }
  if (field.type == '\0') return InvalidArgument("a format with a precision but no type is not supported");
  const std::string digits = RealDigits(size, field);
  return sign + (field.grouped ? Grouped(digits) : digits);
}

void AppendPadded(const Text& text, const FieldFormat& field, bool is_number, TextBuilder* out) {
  const int64_t missing =
      std::max<int64_t>(0, field.width - static_cast<int64_t>(CharacterCount(text.bytes)));
  const char align = field.align != '\0' ? field.align : is_number ? '>' : '<';
  const int64_t before = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  size_t sign = 0;
  if (align == '=' && is_number) {
    if (!text.bytes.empty() && std::string_view("+- ").find(text.bytes[0]) != std::string_view::npos)
      sign = 1;
    if (field.alternate && field.type != '\0' &&
        std::string_view("xXob").find(field.type) != std::string_view::npos) {
      sign += 2;
    }
  }
  out->Append(text, 0, sign);
  for (int64_t i = 0; i < before; ++i) out->Append(field.fill);
  out->Append(text, sign, text.bytes.size());
  for (int64_t i = before; i < missing; ++i) out->Append(field.fill);
}

}  // namespace hydrad::jinja
