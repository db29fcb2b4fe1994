#include "server/text/jinja/python_text.h"

#include <fmt/core.h>

#include <utf8proc.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

std::string EscapeOf(uint32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  if (c < 0x100) return fmt::format("\\x{:02x}", c);
  return c < 0x10000 ? fmt::format("\\u{:04x}", c) : fmt::format("\\U{:08x}", c);
}

void AppendTextRepr(const Text& text, TextBuilder* out) {
  const std::string& bytes = text.bytes;
  const bool has_single = bytes.find('\'') != std::string::npos;
  const char quote = has_single && bytes.find('"') == std::string::npos ? '"' : '\'';
  OriginCursor origin(text);
  out->Append(std::string_view(&quote, 1));
  for (size_t pos = 0; pos < bytes.size() && !out->overflowed();) {
    const size_t begin = pos;
    const uint32_t c = NextCodePoint(bytes, &pos);
    const bool is_data = origin.IsData(begin);
    if (c == '\\' || c == static_cast<unsigned char>(quote)) out->Append("\\", is_data);
    if (IsPrintable(c)) {
      out->Append(std::string_view(bytes).substr(begin, pos - begin), is_data);
    } else {
      out->Append(EscapeOf(c), is_data);
    }
  }
  out->Append(std::string_view(&quote, 1));
}

absl::Status AppendItems(Runtime* runtime, const std::vector<Value>& items, TextBuilder* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out->Append(", ");
    RETURN_IF_ERROR(AppendRepr(runtime, items[i], out));
    if (out->overflowed()) break;
  }
  return absl::OkStatus();
}

absl::Status AppendDict(Runtime* runtime, const Dict& dict, TextBuilder* out) {
  out->Append("{");
  for (size_t i = 0; i < dict.items.size() && !out->overflowed(); ++i) {
    if (i > 0) out->Append(", ");
    RETURN_IF_ERROR(AppendRepr(runtime, dict.items[i].first, out));
    out->Append(": ");
    RETURN_IF_ERROR(AppendRepr(runtime, dict.items[i].second, out));
  }
  out->Append("}");
  return absl::OkStatus();
}

absl::Status AppendSequence(Runtime* runtime, const Value& value, TextBuilder* out) {
  const std::vector<Value>& items = value.list().items;
  const bool tuple = value.Is(Kind::kTuple);
  out->Append(tuple ? "(" : "[");
  RETURN_IF_ERROR(AppendItems(runtime, items, out));
  out->Append(tuple ? (items.size() == 1 ? ",)" : ")") : "]");
  return absl::OkStatus();
}

std::string RangeText(const Range& range) {
  if (range.step == 1) return fmt::format("range({}, {})", range.start, range.stop);
  return fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

}  // namespace

bool IsPrintable(uint32_t c) {
  if (c < 0x7f) return c >= 0x20;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string shortest(buffer, end);
  const size_t e = shortest.find('e');
  const int exponent = std::atoi(shortest.c_str() + e + 1);
  const std::string sign = shortest[0] == '-' ? "-" : "";
  std::string digits = shortest.substr(sign.size(), e - sign.size());
  std::erase(digits, '.');
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = count > 1 ? "." + digits.substr(1) : "";
    return fmt::format("{}{}{}e{}{:02}", sign, digits[0], fraction, exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1)
    return sign + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  const auto point = static_cast<size_t>(exponent + 1);
  return sign + digits.substr(0, point) + "." + digits.substr(point);
}

absl::Status AppendRepr(Runtime* runtime, const Value& value, TextBuilder* out) {
  Nesting nesting(runtime);
  RETURN_IF_ERROR(nesting.status());
  runtime->heap.Step();
  RETURN_IF_ERROR(runtime->heap.status());
  switch (value.kind()) {
    case Kind::kUndefined:
      out->Append("Undefined");
      break;
    case Kind::kNone:
      out->Append("None");
      break;
    case Kind::kBool:
      out->Append(value.boolean() ? "True" : "False");
      break;
    case Kind::kInt:
      out->Append(std::to_string(value.integer()));
      break;
    case Kind::kFloat:
      out->Append(FloatRepr(value.real()));
      break;
    case Kind::kText:
      AppendTextRepr(value.text(), out);
      break;
    case Kind::kList:
    case Kind::kTuple:
      return AppendSequence(runtime, value, out);
    case Kind::kDict:
      return AppendDict(runtime, value.dict(), out);
    case Kind::kNamespace:
      out->Append("<Namespace ");
      RETURN_IF_ERROR(AppendDict(runtime, value.dict(), out));
      out->Append(">");
      break;
    case Kind::kRange:
      out->Append(RangeText(value.range()));
      break;
    case Kind::kView:
      out->Append(value.view().name);
      out->Append("([");
      RETURN_IF_ERROR(AppendItems(runtime, value.view().items, out));
      out->Append("])");
      break;
    default:
      return InvalidArgument("a value of type {} cannot be written as text", KindName(value.kind()));
  }
  return absl::OkStatus();
}

absl::Status AppendText(Runtime* runtime, const Value& value, TextBuilder* out) {
  if (value.Is(Kind::kUndefined)) return absl::OkStatus();
  if (!value.Is(Kind::kText)) return AppendRepr(runtime, value, out);
  out->Append(value.text());
  runtime->heap.Step(static_cast<int64_t>(value.bytes().size() / 32));
  return absl::OkStatus();
}

absl::StatusOr<Value> ToText(Runtime* runtime, const Value& value) {
  if (value.Is(Kind::kText)) return value;
  TextBuilder out = runtime->heap.Builder();
  RETURN_IF_ERROR(AppendText(runtime, value, &out));
  return runtime->heap.NewText(&out);
}

}  // namespace hydrad::jinja
