#include "server/text/jinja/python_operators.h"

#include <cmath>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/printf_format.h"
#include "server/text/jinja/safe_text.h"

namespace hydrad::jinja {
namespace {

absl::Status TooLarge() { return InvalidArgument("an integer has more than 64 bits"); }
absl::Status DivisionByZero() { return InvalidArgument("a division by zero"); }

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return DivisionByZero();
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return TooLarge();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return TooLarge();
  }
  return Value::Int(result);
}

absl::StatusOr<Value> IntegerArithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "**") return IntegerPower(a, b);
  if (op == "+") overflow = __builtin_add_overflow(a, b, &result);
  if (op == "-") overflow = __builtin_sub_overflow(a, b, &result);
  if (op == "*") overflow = __builtin_mul_overflow(a, b, &result);
  if (op == "/" || op == "//" || op == "%") {
    if (b == 0) return DivisionByZero();
    if (op == "/") return Value::Float(static_cast<double>(static_cast<long double>(a) / b));
    if (b == -1) {
      overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t remainder = a % b;
      const bool crosses = remainder != 0 && (remainder < 0) != (b < 0);
      result = op == "%" ? remainder + (crosses ? b : 0) : a / b - (crosses ? 1 : 0);
    }
  }
  if (overflow) return TooLarge();
  return Value::Int(result);
}

absl::StatusOr<Value> RealArithmetic(std::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) return DivisionByZero();
    const double power = std::pow(a, b);
    if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) {
      return InvalidArgument("a power that is no real number");
    }
    if (std::isinf(power) && !std::isinf(a) && !std::isinf(b))
      return InvalidArgument("a power that is too large");
    return Value::Float(power);
  }
  if (b == 0) return DivisionByZero();
  if (op == "/") return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder == 0) {
    remainder = std::copysign(0.0, b);
  } else if ((remainder < 0) != (b < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (op == "%") return Value::Float(remainder);
  if (quotient == 0) return Value::Float(std::copysign(0.0, a / b));
  const double whole = std::floor(quotient);
  return Value::Float(quotient - whole > 0.5 ? whole + 1 : whole);
}

absl::StatusOr<Value> Repeat(Runtime* runtime, const Value& value, int64_t count) {
  const size_t times = count < 0 ? 0 : static_cast<size_t>(count);
  if (value.Is(Kind::kText)) {
    const size_t size = value.bytes().size();
    if (size > 0 && times > runtime->heap.room() / size) {
      return InvalidArgument("a string that needs too much memory");
    }
    TextBuilder out = runtime->heap.Builder();
    for (size_t i = 0; i < times && size > 0; ++i) out.Append(value.text());
    return value.text().safe ? SafeText(runtime, &out) : runtime->heap.NewText(&out);
  }
  const std::vector<Value>& items = value.list().items;
  std::vector<Value> out;
  if (!items.empty()) {
    const size_t room = runtime->heap.room() / sizeof(Value);
    if (times > room / items.size()) return InvalidArgument("a list that needs too much memory");
    for (size_t i = 0; i < times; ++i) out.insert(out.end(), items.begin(), items.end());
  }
  return runtime->heap.NewList(std::move(out), value.kind());
}

absl::StatusOr<Value> Joined(Runtime* runtime, const Value& left, const Value& right) {
  if (left.Is(Kind::kText)) {
    const bool safe = left.text().safe || right.text().safe;
    TextBuilder out = runtime->heap.Builder();
    for (const Text* side : {&left.text(), &right.text()}) {
      if (safe && !side->safe) {
        AppendEscaped(*side, &out);
      } else {
        out.Append(*side);
      }
    }
    return safe ? SafeText(runtime, &out) : runtime->heap.NewText(&out);
  }
  std::vector<Value> items = left.list().items;
  items.insert(items.end(), right.list().items.begin(), right.list().items.end());
  return runtime->heap.NewList(std::move(items), left.kind());
}

bool IsRepeatable(const Value& value) { return value.Is(Kind::kText) || value.IsSequence(); }

// -1, 0 or 1; 2 where one of them is no number.
int CompareNumbers(const Value& left, const Value& right) {
  if (left.IsInteger() && right.IsInteger()) {
    return left.integer() < right.integer() ? -1 : left.integer() > right.integer() ? 1 : 0;
  }
  // A long double holds both an int64 and a double.
  const auto exact = [](const Value& v) {
    return v.IsInteger() ? static_cast<long double>(v.integer()) : static_cast<long double>(v.real());
  };
  const long double a = exact(left), b = exact(right);
  return a < b ? -1 : a > b ? 1 : a == b ? 0 : 2;
}

absl::StatusOr<bool> SequencesEqual(Runtime* runtime, const std::vector<Value>& left,
                                    const std::vector<Value>& right) {
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equal(runtime, left[i], right[i]));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> DictsEqual(Runtime* runtime, const Dict& left, const Dict& right) {
  if (left.items.size() != right.items.size()) return false;
  for (const auto& [key, value] : left.items) {
    ASSIGN_OR_RETURN(const Value* other, right.Find(key));
    if (other == nullptr) return false;
    ASSIGN_OR_RETURN(const bool equal, Equal(runtime, value, *other));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> AnyEqual(Runtime* runtime, const std::vector<Value>& items, const Value& item) {
  for (const Value& other : items) {
    ASSIGN_OR_RETURN(const bool equal, Equal(runtime, other, item));
    if (equal) return true;
  }
  return false;
}

// The views of keys and of items are sets; one of values equals itself alone.
absl::StatusOr<bool> ViewsEqual(Runtime* runtime, const View& a, const View& b) {
  bool equal =
      &a == &b || (a.name != "dict_values" && b.name != "dict_values" && a.items.size() == b.items.size());
  for (size_t i = 0; equal && &a != &b && i < a.items.size(); ++i) {
    ASSIGN_OR_RETURN(equal, AnyEqual(runtime, b.items, a.items[i]));
  }
  return equal;
}

}  // namespace

absl::StatusOr<Value> Arithmetic(Runtime* runtime, std::string_view op, const Value& left,
                                 const Value& right) {
  if (op == "%" && left.Is(Kind::kText) && left.text().safe) {
    return InvalidArgument("'%' of a string that is marked safe is not supported");
  }
  if (op == "%" && left.Is(Kind::kText)) return FormatPercent(runtime, left.text(), right);
  if (left.Is(Kind::kUndefined)) return left.UndefinedError();
  if (right.Is(Kind::kUndefined)) return right.UndefinedError();
  if (left.IsInteger() && right.IsInteger()) return IntegerArithmetic(op, left.integer(), right.integer());
  if (left.IsNumber() && right.IsNumber()) return RealArithmetic(op, left.real(), right.real());
  if (op == "+" && left.kind() == right.kind() && IsRepeatable(left)) return Joined(runtime, left, right);
  if (op == "*" && IsRepeatable(left) && right.IsInteger()) return Repeat(runtime, left, right.integer());
  if (op == "*" && IsRepeatable(right) && left.IsInteger()) return Repeat(runtime, right, left.integer());
  return InvalidArgument("'{}' does not go with {} and {}", op, KindName(left.kind()),
                         KindName(right.kind()));
}

absl::StatusOr<Value> Signed(const Value& value, bool negative) {
  if (value.Is(Kind::kUndefined)) return value.UndefinedError();
  if (!value.IsNumber()) return InvalidArgument("a value of type {} has no sign", KindName(value.kind()));
  if (value.Is(Kind::kFloat)) return Value::Float(negative ? -value.real() : value.real());
  if (negative && value.integer() == INT64_MIN) return TooLarge();
  return Value::Int(negative ? -value.integer() : value.integer());
}

absl::StatusOr<bool> Equal(Runtime* runtime, const Value& left, const Value& right) {
  Nesting nesting(runtime);
  RETURN_IF_ERROR(nesting.status());
  runtime->heap.Step();
  RETURN_IF_ERROR(runtime->heap.status());
  if (left.IsNumber() && right.IsNumber()) return CompareNumbers(left, right) == 0;
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kText:
      return left.bytes() == right.bytes();
    case Kind::kList:
    case Kind::kTuple:
      return SequencesEqual(runtime, left.list().items, right.list().items);
    case Kind::kDict:
      return DictsEqual(runtime, left.dict(), right.dict());
    case Kind::kView:
      return ViewsEqual(runtime, left.view(), right.view());
    case Kind::kRange: {
      ASSIGN_OR_RETURN(const auto a, Elements(runtime, left));
      ASSIGN_OR_RETURN(const auto b, Elements(runtime, right));
      return SequencesEqual(runtime, a, b);
    }
    default:
      return left.object() == right.object();
  }
}

absl::StatusOr<bool> Less(Runtime* runtime, const Value& left, const Value& right) {
  Nesting nesting(runtime);
  RETURN_IF_ERROR(nesting.status());
  runtime->heap.Step();
  RETURN_IF_ERROR(runtime->heap.status());
  if (left.Is(Kind::kUndefined)) return left.UndefinedError();
  if (right.Is(Kind::kUndefined)) return right.UndefinedError();
  if (left.IsNumber() && right.IsNumber()) return CompareNumbers(left, right) == -1;
  if (left.Is(Kind::kText) && right.Is(Kind::kText)) return left.bytes() < right.bytes();
  if (left.kind() != right.kind() || !left.IsSequence()) {
    return InvalidArgument("'<' does not go with {} and {}", KindName(left.kind()), KindName(right.kind()));
  }
  const std::vector<Value>& a = left.list().items;
  const std::vector<Value>& b = right.list().items;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equal(runtime, a[i], b[i]));
    if (!equal) return Less(runtime, a[i], b[i]);
  }
  return a.size() < b.size();
}

absl::StatusOr<bool> Contains(Runtime* runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kText:
      if (!item.Is(Kind::kText)) {
        return InvalidArgument("'in' a string needs a string, not {}", KindName(item.kind()));
      }
      runtime->heap.Step(static_cast<int64_t>(container.bytes().size() / 32));
      return container.bytes().find(item.bytes()) != std::string::npos;
    case Kind::kList:
    case Kind::kTuple:
      return AnyEqual(runtime, container.list().items, item);
    case Kind::kDict: {
      ASSIGN_OR_RETURN(const Value* found, container.dict().Find(item));
      return found != nullptr;
    }
    case Kind::kView:
    case Kind::kRange: {
      ASSIGN_OR_RETURN(const auto items, Elements(runtime, container));
      return AnyEqual(runtime, items, item);
    }
    case Kind::kIterator: {
      Value next;
      for (;;) {
        ASSIGN_OR_RETURN(const bool found, container.iterator().Next(&next));
        if (!found) return false;
        ASSIGN_OR_RETURN(const bool equal, Equal(runtime, next, item));
        if (equal) return true;
      }
    }
    default:
      return InvalidArgument("'in' does not go with a value of type {}", KindName(container.kind()));
  }
}

absl::StatusOr<bool> Compare(Runtime* runtime, std::string_view op, const Value& left, const Value& right) {
  if (op == "==") return Equal(runtime, left, right);
  if (op == "in") return Contains(runtime, right, left);
  if (op == "<") return Less(runtime, left, right);
  if (op == ">") return Less(runtime, right, left);
  if (op == "!=" || op == "not in") {
    ASSIGN_OR_RETURN(const bool holds, Compare(runtime, op == "!=" ? "==" : "in", left, right));
    return !holds;
  }
  ASSIGN_OR_RETURN(const bool less, op == "<=" ? Less(runtime, left, right) : Less(runtime, right, left));
  if (less) return true;
  return Equal(runtime, left, right);
}

}  // namespace hydrad::jinja
