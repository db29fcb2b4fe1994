#include "server/text/jinja/value_tests.h"

#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/letter_case.h"
#include "server/text/jinja/python_operators.h"
#include "server/text/jinja/python_text.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// The remainder of the value by `divisor` is `expected`.
Result RemainderIs(Call& call, const Value& divisor, int64_t expected) {
  ASSIGN_OR_RETURN(const Value remainder, Arithmetic(&call.runtime, "%", call.self, divisor));
  ASSIGN_OR_RETURN(const bool equal, Equal(&call.runtime, remainder, Value::Int(expected)));
  return Value::Bool(equal);
}

Result IsOdd(Call& call) { return RemainderIs(call, Value::Int(2), 1); }
Result IsEven(Call& call) { return RemainderIs(call, Value::Int(2), 0); }
Result IsDivisibleBy(Call& call) { return RemainderIs(call, *call.Arg(0), 0); }

template <Kind... kKinds>
Result IsOfKind(Call& call) {
  return Value::Bool((call.self.Is(kKinds) || ...));
}
Result IsDefined(Call& call) { return Value::Bool(!call.self.Is(Kind::kUndefined)); }
Result IsTrue(Call& call) { return Value::Bool(call.self.Is(Kind::kBool) && call.self.boolean()); }
Result IsFalse(Call& call) { return Value::Bool(call.self.Is(Kind::kBool) && !call.self.boolean()); }
Result IsEscaped(Call& call) { return Value::Bool(call.self.Is(Kind::kText) && call.self.text().safe); }

// An undefined value is an empty sequence.
Result IsSequence(Call& call) {
  return Value::Bool(call.self.Is(Kind::kText) || call.self.IsSequence() || call.self.Is(Kind::kDict) ||
                     call.self.Is(Kind::kRange) || call.self.Is(Kind::kUndefined));
}

Result IsIterable(Call& call) {
  return Value::Bool(!call.self.Is(Kind::kNone) && !call.self.IsNumber() && !call.self.Is(Kind::kNamespace) &&
                     !call.self.Is(Kind::kCallable));
}

Result IsLower(Call& call) {
  ASSIGN_OR_RETURN(const Value text, ToText(&call.runtime, call.self));
  return Value::Bool(IsLowerCase(text.bytes()));
}
Result IsUpper(Call& call) {
  ASSIGN_OR_RETURN(const Value text, ToText(&call.runtime, call.self));
  return Value::Bool(IsUpperCase(text.bytes()));
}

Result IsSameAs(Call& call) {
  const Value& other = *call.Arg(0);
  if (call.self.kind() != other.kind()) return Value::Bool(false);
  switch (other.kind()) {
    case Kind::kNone:
      return Value::Bool(true);
    case Kind::kBool:
    case Kind::kInt:
      return Value::Bool(call.self.integer() == other.integer());
    case Kind::kUndefined:
    case Kind::kFloat:
      return Value::Bool(false);
    case Kind::kText:
      return Value::Bool(call.self.shared_text() == other.shared_text());
    default:
      return Value::Bool(call.self.object() == other.object());
  }
}

Result IsFilter(Call& call) {
  return Value::Bool(call.self.Is(Kind::kText) && FindFilter(call.self.bytes()) != nullptr);
}
Result IsTest(Call& call) {
  return Value::Bool(call.self.Is(Kind::kText) && FindTest(call.self.bytes()) != nullptr);
}
Result IsIn(Call& call) {
  ASSIGN_OR_RETURN(const bool found, Contains(&call.runtime, *call.Arg(0), call.self));
  return Value::Bool(found);
}

template <char kFirst, char kSecond>
Result Compares(Call& call) {
  static constexpr char kOperator[] = {kFirst, kSecond, '\0'};
  ASSIGN_OR_RETURN(const bool holds, Compare(&call.runtime, kOperator, call.self, *call.Arg(0)));
  return Value::Bool(holds);
}
constexpr auto kEqual = Compares<'=', '='>, kNotEqual = Compares<'!', '='>, kLess = Compares<'<', '\0'>,
               kAtMost = Compares<'<', '='>, kGreater = Compares<'>', '\0'>, kAtLeast = Compares<'>', '='>;

constexpr Builtin kTests[] = {
    {"odd", IsOdd},
    {"even", IsEven},
    {"divisibleby", IsDivisibleBy, "num", 1},
    {"defined", IsDefined},
    {"undefined", IsOfKind<Kind::kUndefined>},
    {"filter", IsFilter},
    {"test", IsTest},
    {"none", IsOfKind<Kind::kNone>},
    {"boolean", IsOfKind<Kind::kBool>},
    {"false", IsFalse},
    {"true", IsTrue},
    {"integer", IsOfKind<Kind::kInt>},
    {"float", IsOfKind<Kind::kFloat>},
    {"lower", IsLower},
    {"upper", IsUpper},
    {"string", IsOfKind<Kind::kText>},
    {"mapping", IsOfKind<Kind::kDict>},
    {"number", IsOfKind<Kind::kBool, Kind::kInt, Kind::kFloat>},
    {"sequence", IsSequence},
    {"iterable", IsIterable},
    {"callable", IsOfKind<Kind::kCallable>},
    {"sameas", IsSameAs, "other", 1},
    {"escaped", IsEscaped},
    {"in", IsIn, "seq", 1},
    {"eq", kEqual, "other", 1},
    {"equalto", kEqual, "other", 1},
    {"==", kEqual, "other", 1},
    {"ne", kNotEqual, "other", 1},
    {"!=", kNotEqual, "other", 1},
    {"lt", kLess, "other", 1},
    {"lessthan", kLess, "other", 1},
    {"<", kLess, "other", 1},
    {"le", kAtMost, "other", 1},
    {"<=", kAtMost, "other", 1},
    {"gt", kGreater, "other", 1},
    {"greaterthan", kGreater, "other", 1},
    {">", kGreater, "other", 1},
    {"ge", kAtLeast, "other", 1},
    {">=", kAtLeast, "other", 1},
};

}  // namespace

const Builtin* FindTest(std::string_view name) { return FindBuiltin(kTests, name); }

}  // namespace hydrad::jinja
