// Filters on numbers, and on values of any kind.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdio>

#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/number_format.h"
#include "server/text/jinja/python_operators.h"
#include "server/text/jinja/subscripts.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Default(Call& call) {
  const bool missing = call.self.Is(Kind::kUndefined) || (call.True(1, false) && !Truth(call.self));
  if (!missing) return call.self;
  return call.Given(0) ? *call.Arg(0) : call.runtime.heap.NewText("");
}

Result Attribute(Call& call) {
  ASSIGN_OR_RETURN(const Text* name, call.String(0));
  if (call.self.Is(Kind::kUndefined)) return call.self.UndefinedError();
  bool known;
  ASSIGN_OR_RETURN(Value attribute, GetTypeAttribute(&call.runtime, call.self, name->bytes, &known));
  if (known && !attribute.Is(Kind::kUndefined)) return attribute;
  return Value::Undefined(call.Arg(0)->shared_text(), call.self.kind());
}

Result Absolute(Call& call) {
  if (call.self.IsNumber() && call.self.real() >= 0) return Signed(call.self, /*negative=*/false);
  return Signed(call.self, /*negative=*/true);
}

// The digits of a number without '_' between them and white space around; empty if '_' stands elsewhere.
std::string PlainDigits(std::string_view text) {
  text = StripSpace(text, true, true);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const bool between = i > 0 && i + 1 < text.size() &&
                         std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0 &&
                         std::isalnum(static_cast<unsigned char>(text[i + 1])) != 0;
    if (!between) return "";
  }
  return out;
}

// Python's float(text); false where it is none.
bool ReadReal(std::string_view text, double* value) {
  std::string digits = PlainDigits(text);
  if (digits.starts_with('+')) digits.erase(0, 1);
  if (digits.empty() || digits[0] == '+' || digits.find('x') != std::string::npos ||
      digits.find('(') != std::string::npos) {
    return false;
  }
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, *value);
  if (stop != end) return false;
  if (error == std::errc::result_out_of_range) *value = std::strtod(digits.c_str(), nullptr);
  return error != std::errc::invalid_argument;
}

enum class Read { kNumber, kNone, kTooLarge };

// Python's int(text, base).
Read ReadInteger(std::string_view text, int64_t base, int64_t* value) {
  std::string digits = PlainDigits(text);
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  if (digits.size() > 2 && digits[0] == '0') {
    const char letter = static_cast<char>(digits[1] | 0x20);
    const int64_t prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : -1;
    if (prefix == base || (base == 0 && prefix > 0)) {
      digits.erase(0, 2);
      base = prefix;
    }
  }
  if (base == 0) {
    if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos)
      return Read::kNone;
    base = 10;
  }
  if (digits.empty() || digits[0] == '-') return Read::kNone;
  if (negative) digits = fmt::format("-{}", digits);
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, *value, static_cast<int>(base));
  if (stop != end || error == std::errc::invalid_argument) return Read::kNone;
  return error == std::errc() ? Read::kNumber : Read::kTooLarge;
}

Result Truncated(Call& call, double value) {
  if (std::fabs(value) < 9.2e18) return Value::Int(static_cast<int64_t>(value));
  return call.Error("the integer has more than 64 bits");
}

Result Int(Call& call) {
  const Value otherwise = call.Given(0) ? *call.Arg(0) : Value::Int(0);
  ASSIGN_OR_RETURN(const int64_t base, call.Int(1, 10));
  const Value& self = call.self;
  if (self.Is(Kind::kUndefined)) return self.UndefinedError();
  if (self.IsInteger()) return Value::Int(self.integer());
  if (self.Is(Kind::kFloat)) return std::isnan(self.real()) ? otherwise : Truncated(call, self.real());
  if (!self.Is(Kind::kText)) return otherwise;
  int64_t integer = 0;
  const bool has_base = base == 0 || (base >= 2 && base <= 36);
  switch (has_base ? ReadInteger(self.bytes(), base, &integer) : Read::kNone) {
    case Read::kNumber:
      return Value::Int(integer);
    case Read::kTooLarge:
      return call.Error("the integer has more than 64 bits");
    case Read::kNone:
      break;
  }
  double real = 0;
  if (!ReadReal(self.bytes(), &real) || std::isnan(real) || std::isinf(real)) return otherwise;
  return Truncated(call, real);
}

Result Float(Call& call) {
  const Value otherwise = call.Given(0) ? *call.Arg(0) : Value::Float(0);
  const Value& self = call.self;
  if (self.Is(Kind::kUndefined)) return self.UndefinedError();
  if (self.IsNumber()) return Value::Float(self.real());
  double real = 0;
  if (self.Is(Kind::kText) && ReadReal(self.bytes(), &real)) return Value::Float(real);
  return otherwise;
}

Result Round(Call& call) {
  const Value& self = call.self;
  if (self.Is(Kind::kUndefined)) return self.UndefinedError();
  if (!self.IsNumber()) return call.Error("needs a number");
  ASSIGN_OR_RETURN(const int64_t precision, call.Int(0, 0));
  if (precision < 0 || precision > 300)
    return call.Error("a precision below 0 or above 300 is not supported");
  if (call.Given(1) && !call.Arg(1)->IsText("common")) {
    const bool up = call.Arg(1)->IsText("ceil");
    if (!up && !call.Arg(1)->IsText("floor")) return call.Error("the method must be common, ceil or floor");
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = self.real() * scale;
    if (!(std::fabs(scaled) < 9.0e15)) return call.Error("the number is too large");
    return Value::Float((up ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (self.IsInteger()) return Value::Int(self.integer());
  if (std::isnan(self.real()) || std::isinf(self.real())) return self;
  FieldFormat field;
  field.type = 'f';
  field.precision = precision;
  ASSIGN_OR_RETURN(const std::string digits, FormatReal(self.real(), field));
  return Value::Float(std::strtod(digits.c_str(), nullptr));
}

constexpr Builtin kFilters[] = {
    {"default", Default, "default_value boolean"},
    {"d", Default, "default_value boolean"},
    {"attr", Attribute, "name", 1},
    {"abs", Absolute},
    {"int", Int, "default base"},
    {"float", Float, "default"},
    {"round", Round, "precision method"},
};

}  // namespace

std::span<const Builtin> NumberFilters() { return kFilters; }

}  // namespace hydrad::jinja
