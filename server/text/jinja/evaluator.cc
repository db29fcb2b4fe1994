#include "server/text/jinja/evaluator.h"

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/global_functions.h"
#include "server/text/jinja/python_operators.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/subscripts.h"
#include "server/text/jinja/template_error.h"

namespace hydrad::jinja {

const Value* Scope::Find(Symbol symbol) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
    for (const auto& [name, value] : scope->variables) {
      if (name == symbol) return &value;
    }
  }
  return nullptr;
}

void Scope::Set(Symbol symbol, Value value) {
  for (auto& [name, old] : variables) {
    if (name != symbol) continue;
    old = std::move(value);
    return;
  }
  variables.emplace_back(symbol, std::move(value));
}

Evaluator::Result Evaluator::Evaluate(const Expression& node, Scope* scope) {
  heap_.Step();
  Nesting nesting(&runtime_);
  absl::Status status = nesting.status();
  if (status.ok()) status = heap_.status();
  if (!status.ok()) return AtLine(status, node.line);
  Result value = EvaluateNode(node, scope);
  if (!value.ok()) return AtLine(value.status(), node.line);
  return value;
}

Evaluator::Result Evaluator::EvaluateNode(const Expression& node, Scope* scope) {
  using Type = Expression::Type;
  switch (node.type) {
    case Type::kConstant:
      return node.constant;
    case Type::kName:
      return EvaluateName(node, scope);
    case Type::kList:
      return EvaluateItems(node, Kind::kList, scope);
    case Type::kTuple:
      return EvaluateItems(node, Kind::kTuple, scope);
    case Type::kDict:
      return EvaluateDict(node, scope);
    case Type::kNot:
    case Type::kAnd:
    case Type::kOr:
    case Type::kChoice:
      return EvaluateLogic(node, scope);
    case Type::kCompare:
      return EvaluateCompare(node, scope);
    case Type::kConcat:
      return EvaluateConcat(node, scope);
    case Type::kSlice:
      return EvaluateSlice(node, scope);
    case Type::kCall:
      return EvaluateCall(node, scope);
    default:
      break;
  }
  ASSIGN_OR_RETURN(const Value first, Evaluate(*node.operands[0], scope));
  if (node.type == Type::kAttribute) return GetAttribute(&runtime_, first, node.constant);
  if (node.type == Type::kNegative || node.type == Type::kPositive) {
    return Signed(first, node.type == Type::kNegative);
  }
  if (node.type == Type::kFilter || node.type == Type::kTest) return Apply(node, first, scope);
  ASSIGN_OR_RETURN(const Value second, Evaluate(*node.operands[1], scope));
  if (node.type == Type::kElement) return GetElement(&runtime_, first, second);
  return Arithmetic(&runtime_, node.operators[0], first, second);
}

Evaluator::Result Evaluator::EvaluateName(const Expression& node, Scope* scope) {
  if (const Value* value = scope->Find(node.symbol)) return *value;
  const auto& name = template_.symbols.Name(node.symbol);
  if (const Builtin* function = FindGlobalFunction(name->bytes)) {
    return NewCallable(&runtime_, *function, Value());
  }
  return Value::Undefined(name);
}

Evaluator::Result Evaluator::EvaluateItems(const Expression& node, Kind kind, Scope* scope) {
  std::vector<Value> items;
  items.reserve(node.operands.size());
  for (const ExpressionPtr& operand : node.operands) {
    ASSIGN_OR_RETURN(Value item, Evaluate(*operand, scope));
    items.push_back(std::move(item));
  }
  return heap_.NewList(std::move(items), kind);
}

Evaluator::Result Evaluator::EvaluateDict(const Expression& node, Scope* scope) {
  Dict* dict = heap_.New<Dict>();
  for (size_t i = 0; i < node.operands.size(); i += 2) {
    ASSIGN_OR_RETURN(const Value key, Evaluate(*node.operands[i], scope));
    ASSIGN_OR_RETURN(Value value, Evaluate(*node.operands[i + 1], scope));
    RETURN_IF_ERROR(dict->Set(key, std::move(value)));
    heap_.Charge(4 * sizeof(Value));
  }
  return Value::Of(Kind::kDict, dict);
}

Evaluator::Result Evaluator::EvaluateLogic(const Expression& node, Scope* scope) {
  ASSIGN_OR_RETURN(Value first, Evaluate(*node.operands[0], scope));
  const bool truth = Truth(first);
  switch (node.type) {
    case Expression::Type::kNot:
      return Value::Bool(!truth);
    case Expression::Type::kAnd:
      return truth ? Evaluate(*node.operands[1], scope) : Result(std::move(first));
    case Expression::Type::kOr:
      return truth ? Result(std::move(first)) : Evaluate(*node.operands[1], scope);
    default:
      break;
  }
  if (truth) return Evaluate(*node.operands[1], scope);
  return node.operands[2] == nullptr ? Result(Value()) : Evaluate(*node.operands[2], scope);
}

Evaluator::Result Evaluator::EvaluateCompare(const Expression& node, Scope* scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*node.operands[0], scope));
  for (size_t i = 0; i < node.operators.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, Evaluate(*node.operands[i + 1], scope));
    ASSIGN_OR_RETURN(const bool holds, Compare(&runtime_, node.operators[i], left, right));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Evaluator::Result Evaluator::EvaluateConcat(const Expression& node, Scope* scope) {
  TextBuilder out = heap_.Builder();
  for (const ExpressionPtr& operand : node.operands) {
    ASSIGN_OR_RETURN(const Value part, Evaluate(*operand, scope));
    RETURN_IF_ERROR(AppendText(&runtime_, part, &out));
  }
  return heap_.NewText(&out);
}

Evaluator::Result Evaluator::EvaluateSlice(const Expression& node, Scope* scope) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0], scope));
  Value parts[3] = {Value::None(), Value::None(), Value::None()};
  for (int i = 0; i < 3; ++i) {
    if (node.operands[i + 1] == nullptr) continue;
    ASSIGN_OR_RETURN(parts[i], Evaluate(*node.operands[i + 1], scope));
  }
  return GetSlice(&runtime_, value, parts[0], parts[1], parts[2]);
}

Evaluator::Result Evaluator::EvaluateCall(const Expression& node, Scope* scope) {
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*node.operands[0], scope));
  Arguments arguments;
  RETURN_IF_ERROR(EvaluateArguments(node.arguments, scope, &arguments));
  return CallValue(&runtime_, callee, arguments);
}

Evaluator::Result Evaluator::Apply(const Expression& node, const Value& operand, Scope* scope) {
  Arguments arguments;
  RETURN_IF_ERROR(EvaluateArguments(node.arguments, scope, &arguments));
  return CallBuiltin(&runtime_, *node.builtin, operand, arguments);
}

absl::Status Evaluator::EvaluateArguments(const CallArguments& from, Scope* scope, Arguments* out) {
  for (const ExpressionPtr& argument : from.positional) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*argument, scope));
    out->positional.push_back(std::move(value));
  }
  for (const auto& [name, argument] : from.keywords) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*argument, scope));
    out->keywords.emplace_back(name, std::move(value));
  }
  if (from.more_positional == nullptr && from.more_keywords == nullptr) return absl::OkStatus();
  return SpreadArguments(from, scope, out);
}

absl::Status Evaluator::SpreadArguments(const CallArguments& from, Scope* scope, Arguments* out) {
  if (from.more_positional != nullptr) {
    ASSIGN_OR_RETURN(const Value list, Evaluate(*from.more_positional, scope));
    ASSIGN_OR_RETURN(auto items, Elements(&runtime_, list));
    out->positional.insert(out->positional.end(), items.begin(), items.end());
  }
  if (from.more_keywords == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Value dict, Evaluate(*from.more_keywords, scope));
  if (!dict.Is(Kind::kDict)) return InvalidArgument("the argument behind '**' must be a dict");
  for (const auto& [name, value] : dict.dict().items) {
    if (!name.Is(Kind::kText)) return InvalidArgument("the keys of the argument behind '**' must be strings");
    if (out->Keyword(name.bytes()) != nullptr) return InvalidArgument("'{}' is given twice", name.bytes());
    out->keywords.emplace_back(name, value);
  }
  return absl::OkStatus();
}

}  // namespace hydrad::jinja
