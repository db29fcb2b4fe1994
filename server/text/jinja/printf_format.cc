#include "server/text/jinja/printf_format.h"

#include <fmt/core.h>

#include <cmath>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/number_format.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/subscripts.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

// Appends the value as %s, %r or a number.
absl::Status AppendField(Runtime* runtime, const Value& value, FieldFormat field, TextBuilder* out) {
  if (field.type == 's' || field.type == 'r') {
    TextBuilder text = runtime->heap.Builder();
    RETURN_IF_ERROR(field.type == 's' ? AppendText(runtime, value, &text)
                                      : AppendRepr(runtime, value, &text));
    Text whole = text.Take();
    if (field.precision >= 0) {
      TextBuilder cut = runtime->heap.Builder();
      cut.Append(whole, 0, ByteOfCharacter(whole.bytes, static_cast<size_t>(field.precision)));
      whole = cut.Take();
    }
    AppendPadded(whole, field, /*is_number=*/field.align == '\0', out);
    return absl::OkStatus();
  }
  if (field.type == 'i' || field.type == 'u') field.type = 'd';
  if (!value.IsNumber())
    return InvalidArgument("'%{}' needs a number, not {}", field.type, KindName(value.kind()));
  std::string digits;
  if (std::string_view("dxXo").find(field.type) != std::string_view::npos) {
    if (value.Is(Kind::kFloat) && field.type != 'd')
      return InvalidArgument("'%{}' needs an integer", field.type);
    if (!value.IsInteger() && !(std::fabs(value.real()) < 9.2e18))
      return InvalidArgument("a float is too large for %d");
    const int64_t integer = value.IsInteger() ? value.integer() : static_cast<int64_t>(value.real());
    ASSIGN_OR_RETURN(digits, FormatInteger(integer, field));
    const size_t sign = digits.empty() || (digits[0] >= '0' && digits[0] <= '9') ? 0 : 1;
    while (static_cast<int64_t>(digits.size() - sign) < field.precision) digits.insert(sign, "0");
  } else {
    ASSIGN_OR_RETURN(digits, FormatReal(value.real(), field));
  }
  AppendPadded(Text(digits), field, /*is_number=*/true, out);
  return absl::OkStatus();
}

// Reads a string with % fields.
class PercentFormat {
 public:
  PercentFormat(Runtime* runtime, const Text& format, const Value& values)
      : runtime_(*runtime), format_(format), values_(values), out_(runtime->heap.Builder()) {}

  absl::StatusOr<Value> Run() {
    const std::string& text = format_.bytes;
    while (pos_ < text.size()) {
      const size_t percent = std::min(text.find('%', pos_), text.size());
      out_.Append(format_, pos_, percent);
      pos_ = percent + 1;
      if (percent < text.size()) RETURN_IF_ERROR(Field());
      if (out_.overflowed()) break;
    }
    const bool tuple = values_.Is(Kind::kTuple);
    const bool used = tuple ? next_ == values_.list().items.size() : next_ > 0;
    const bool may_stay = values_.Is(Kind::kDict) || values_.Is(Kind::kList) || values_.Is(Kind::kUndefined);
    if (!used && !may_stay) return InvalidArgument("not all values are used in a format");
    return runtime_.heap.NewText(&out_);
  }

 private:
  absl::Status Field() {
    const std::string& text = format_.bytes;
    FieldFormat field;
    std::optional<Value> named;
    if (pos_ < text.size() && text[pos_] == '(') {
      const size_t close = text.find(')', pos_);
      if (close == std::string::npos || !values_.Is(Kind::kDict))
        return InvalidArgument("a broken '%(' in a format");
      const Value* found = values_.dict().Find(std::string_view(text).substr(pos_ + 1, close - pos_ - 1));
      if (found == nullptr) return InvalidArgument("a format asks for a key that is not there");
      named = *found;
      pos_ = close + 1;
    }
    RETURN_IF_ERROR(Flags(&field));
    if (pos_ >= text.size()) return InvalidArgument("a format ends behind '%'");
    field.type = text[pos_++];
    if (field.type == '%') return out_.Append("%"), absl::OkStatus();
    if (std::string_view("srdiuxXoeEfFgG").find(field.type) == std::string_view::npos) {
      return InvalidArgument("'%{}' is not supported in a format", field.type);
    }
    if (named) return AppendField(&runtime_, *named, field, &out_);
    ASSIGN_OR_RETURN(const Value value, NextValue());
    return AppendField(&runtime_, value, field, &out_);
  }

  absl::Status Flags(FieldFormat* field) {
    const std::string& text = format_.bytes;
    bool zero = false;
    for (; pos_ < text.size() && std::string_view("-+ #0").find(text[pos_]) != std::string_view::npos;
         ++pos_) {
      if (text[pos_] == '-') field->align = '<';
      if (text[pos_] == '+') field->sign = '+';
      if (text[pos_] == ' ' && field->sign == '-') field->sign = ' ';
      if (text[pos_] == '#') field->alternate = true;
      if (text[pos_] == '0') zero = true;
    }
    RETURN_IF_ERROR(Count(&field->width));
    if (pos_ < text.size() && text[pos_] == '.') {
      ++pos_;
      field->precision = 0;
      RETURN_IF_ERROR(Count(&field->precision));
    }
    const char type = pos_ < text.size() ? text[pos_] : '\0';
    if (zero && field->align == '\0' && type != 's' && type != 'r') {
      field->fill = "0";
      field->align = '=';
    }
    return absl::OkStatus();
  }

  absl::Status Count(int64_t* count) {
    const std::string& text = format_.bytes;
    if (pos_ < text.size() && text[pos_] == '*') return InvalidArgument("'*' is not supported in a format");
    for (; pos_ < text.size() && text[pos_] >= '0' && text[pos_] <= '9'; ++pos_) {
      *count = *count * 10 + (text[pos_] - '0');
      if (*count > kMaxWidth) return InvalidArgument("a format's width or precision is above {}", kMaxWidth);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Value> NextValue() {
    if (values_.Is(Kind::kTuple)) {
      const auto& items = values_.list().items;
      if (next_ < items.size()) return items[next_++];
    } else if (next_ == 0) {
      ++next_;
      return values_;
    }
    return InvalidArgument("too few values for a format");
  }

  Runtime& runtime_;
  const Text& format_;
  const Value& values_;
  TextBuilder out_;
  size_t pos_ = 0;
  size_t next_ = 0;  // values used
};

// Reads a string with {} fields.
class BraceFormat {
 public:
  explicit BraceFormat(Call& call)
      : call_(call), format_(call.self.text()), out_(call.runtime.heap.Builder()) {}

  absl::StatusOr<Value> Run() {
    const std::string& text = format_.bytes;
    size_t pos = 0;
    while (pos < text.size() && !out_.overflowed()) {
      const size_t brace = std::min(text.find_first_of("{}", pos), text.size());
      out_.Append(format_, pos, brace);
      pos = brace + 1;
      if (brace == text.size()) break;
      if (pos < text.size() && text[pos] == text[brace]) {
        out_.Append(format_, brace, pos);
        ++pos;
        continue;
      }
      const size_t close = text.find('}', pos);
      if (text[brace] == '}' || close == std::string::npos)
        return call_.Error("a single brace in the format");
      RETURN_IF_ERROR(Field(std::string_view(text).substr(pos, close - pos)));
      pos = close + 1;
    }
    return call_.runtime.heap.NewText(&out_);
  }

 private:
  absl::Status Field(std::string_view inside) {
    if (inside.find('{') != std::string_view::npos)
      return call_.Error("fields inside fields are not supported");
    const size_t colon = std::min(inside.find(':'), inside.size());
    std::string_view name = inside.substr(0, colon);
    const std::string_view spec = colon < inside.size() ? inside.substr(colon + 1) : "";
    char conversion = '\0';
    if (const size_t mark = name.find('!'); mark != std::string_view::npos) {
      if (name.size() != mark + 2 || (name[mark + 1] != 's' && name[mark + 1] != 'r')) {
        return call_.Error("a conversion that is not supported");
      }
      conversion = name[mark + 1];
      name = name.substr(0, mark);
    }
    ASSIGN_OR_RETURN(Value value, Lookup(name));
    if (conversion == '\0' && spec.empty()) return AppendText(&call_.runtime, value, &out_);
    ASSIGN_OR_RETURN(FieldFormat field, ParseFieldFormat(spec));
    if (conversion != '\0') {
      TextBuilder text = call_.runtime.heap.Builder();
      RETURN_IF_ERROR(conversion == 's' ? AppendText(&call_.runtime, value, &text)
                                        : AppendRepr(&call_.runtime, value, &text));
      value = call_.runtime.heap.NewText(&text);
    }
    return AppendFormatted(value, field);
  }

  absl::Status AppendFormatted(const Value& value, FieldFormat field) {
    if (value.Is(Kind::kText)) {
      if (field.type != '\0' && field.type != 's') return call_.Error("a number's format for a string");
      if (field.align == '=' || field.grouped || field.sign != '-')
        return call_.Error("a number's format for a string");
      if (field.align == '\0') field.align = '<';
      field.type = 's';
      return AppendField(&call_.runtime, value, field, &out_);
    }
    if (!value.IsNumber()) return call_.Error("a format for a value that takes none");
    const bool real =
        value.Is(Kind::kFloat) ||
        (field.type != '\0' && std::string_view("eEfFgG%").find(field.type) != std::string_view::npos);
    if (!real && field.precision >= 0) return call_.Error("a precision for an integer");
    const auto digits = real ? FormatReal(value.real(), field) : FormatInteger(value.integer(), field);
    RETURN_IF_ERROR(digits.status());
    if (field.grouped && field.align == '=' && field.fill == "0")
      return call_.Error("',' with '0' is not supported");
    AppendPadded(Text(*digits), field, /*is_number=*/true, &out_);
    return absl::OkStatus();
  }

  // The argument of a field: "", "0", "name", and what is inside it: "0[key]", "name.attribute".
  absl::StatusOr<Value> Lookup(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    ASSIGN_OR_RETURN(Value value, Argument(path.substr(0, end)));
    for (path = path.substr(end); !path.empty();) {
      const bool element = path[0] == '[';
      const size_t stop = element ? path.find(']') : std::min(path.find_first_of(".[", 1), path.size());
      if (stop == std::string_view::npos || stop < 2) return call_.Error("a broken field");
      const std::string_view key = path.substr(1, stop - 1);
      path = path.substr(element ? stop + 1 : stop);
      int64_t index;
      if (element && Number(key, &index)) {
        ASSIGN_OR_RETURN(value, GetElement(&call_.runtime, value, Value::Int(index)));
      } else {
        const Value name = call_.runtime.heap.NewText(key);
        ASSIGN_OR_RETURN(value, element ? GetElement(&call_.runtime, value, name)
                                        : GetAttribute(&call_.runtime, value, name));
      }
    }
    return value;
  }

  absl::StatusOr<Value> Argument(std::string_view name) {
    const auto& positional = call_.arguments.positional;
    int64_t index;
    const bool number = Number(name, &index);
    if (number || name.empty()) {
      if (number ? automatic_ > 0 : numbered_) return call_.Error("numbered and other fields in one format");
      numbered_ |= number;
      if (!number) index = automatic_++;
      if (index >= static_cast<int64_t>(positional.size())) return call_.Error("too few values");
      return positional[static_cast<size_t>(index)];
    }
    const Value* keyword = call_.arguments.Keyword(name);
    if (keyword == nullptr) return call_.Error(fmt::format("the value '{}' is not given", name));
    return *keyword;
  }

  static bool Number(std::string_view text, int64_t* value) {
    if (text.empty() || text.size() > 6 || text.find_first_not_of("0123456789") != std::string_view::npos)
      return false;
    *value = std::stoll(std::string(text));
    return true;
  }

  Call& call_;
  const Text& format_;
  TextBuilder out_;
  int64_t automatic_ = 0;  // fields without a name so far
  bool numbered_ = false;
};

}  // namespace

absl::StatusOr<Value> FormatPercent(Runtime* runtime, const Text& format, const Value& values) {
  return PercentFormat(runtime, format, values).Run();
}

absl::StatusOr<Value> FormatBraces(Call& call) { return BraceFormat(call).Run(); }

}  // namespace hydrad::jinja
