// The statements of a template, but for loops and macros.
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/evaluator.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/subscripts.h"
#include "server/text/jinja/template_error.h"

namespace hydrad::jinja {

absl::Status Evaluator::Run(Scope* root) {
  const auto flow = RunScope(template_.body, template_.hidden, root);
  return flow.ok() ? heap_.status() : flow.status();
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunScope(const Body& body, const std::vector<Symbol>& hidden,
                                                    Scope* scope) {
  for (const Symbol symbol : hidden) scope->Set(symbol, Value::Undefined(template_.symbols.Name(symbol)));
  return RunBody(body, scope);
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunBody(const Body& body, Scope* scope) {
  for (const auto& statement : body) {
    heap_.Step();
    Nesting nesting(&runtime_);
    absl::Status status = nesting.status();
    if (status.ok()) status = heap_.status();
    if (!status.ok()) return AtLine(status, statement->line);
    auto flow = RunStatement(*statement, scope);
    if (!flow.ok()) return AtLine(flow.status(), statement->line);
    if (*flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunStatement(const Statement& statement, Scope* scope) {
  using Type = Statement::Type;
  switch (statement.type) {
    case Type::kText:
      out_->Append(statement.text);
      heap_.Step(static_cast<int64_t>(statement.text.bytes.size() / 32));
      if (out_->overflowed()) return InvalidArgument("the text is too long");
      break;
    case Type::kOutput: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression, scope));
      RETURN_IF_ERROR(Write(value));
      break;
    }
    case Type::kIf:
      return RunIf(statement, scope);
    case Type::kFor:
      return RunFor(statement, scope);
    case Type::kSet: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression, scope));
      RETURN_IF_ERROR(Assign(statement.target, value, scope));
      break;
    }
    case Type::kSetBlock:
      RETURN_IF_ERROR(RunSetBlock(statement, scope));
      break;
    case Type::kWith:
      return RunWith(statement, scope);
    case Type::kMacro:
      scope->Set(statement.target.symbol, NewMacro(statement, statement.target.symbol, scope));
      break;
    case Type::kCallBlock:
      RETURN_IF_ERROR(RunCallBlock(statement, scope));
      break;
    case Type::kFilterBlock:
      RETURN_IF_ERROR(RunFilterBlock(statement, scope));
      break;
    case Type::kGeneration: {
      Scope* inside = heap_.New<Scope>(scope);
      return RunScope(statement.body, statement.hidden, inside);
    }
    case Type::kBreak:
      return Flow::kBreak;
    case Type::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunIf(const Statement& statement, Scope* scope) {
  for (const auto& [condition, body] : statement.branches) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*condition, scope));
    if (Truth(value)) return RunBody(body, scope);
  }
  return RunBody(statement.otherwise, scope);
}

absl::Status Evaluator::Write(const Value& value) {
  RETURN_IF_ERROR(AppendText(&runtime_, value, out_));
  if (out_->overflowed()) return InvalidArgument("the text is too long");
  return absl::OkStatus();
}

absl::Status Evaluator::Assign(const Target& target, const Value& value, Scope* scope) {
  if (target.is_tuple) {
    ASSIGN_OR_RETURN(const auto items, Elements(&runtime_, value));
    if (items.size() != target.parts.size()) {
      return InvalidArgument("{} values cannot be assigned to {} names", items.size(), target.parts.size());
    }
    for (size_t i = 0; i < items.size(); ++i) RETURN_IF_ERROR(Assign(target.parts[i], items[i], scope));
    return absl::OkStatus();
  }
  if (!target.attribute.Is(Kind::kText)) {
    scope->Set(target.symbol, value);
    return absl::OkStatus();
  }
  const Value* object = scope->Find(target.symbol);
  if (object == nullptr || !object->Is(Kind::kNamespace)) {
    return InvalidArgument("cannot assign to an attribute of '{}', which is no namespace",
                           template_.symbols.Name(target.symbol)->bytes);
  }
  if (target.attribute.bytes().starts_with('_')) {
    return InvalidArgument("the attribute '{}' of a namespace begins with '_'", target.attribute.bytes());
  }
  heap_.Charge(2 * sizeof(Value));
  return object->dict().Set(target.attribute, value);
}

absl::StatusOr<Text> Evaluator::Capture(const Statement& statement, Scope* scope) {
  TextBuilder text = heap_.Builder();
  TextBuilder* const outside = std::exchange(out_, &text);
  const auto flow = RunScope(statement.body, statement.hidden, scope);
  out_ = outside;
  if (!flow.ok()) return flow.status();
  return text.Take();
}

Evaluator::Result Evaluator::ApplyFilters(const Expression& node, const Value& text, Scope* scope) {
  if (node.operands[0] == nullptr) return Apply(node, text, scope);
  ASSIGN_OR_RETURN(const Value inner, ApplyFilters(*node.operands[0], text, scope));
  return Apply(node, inner, scope);
}

absl::Status Evaluator::RunSetBlock(const Statement& statement, Scope* scope) {
  Scope* inside = heap_.New<Scope>(scope);
  ASSIGN_OR_RETURN(Text text, Capture(statement, inside));
  Value value = heap_.NewText(std::move(text));
  if (statement.expression != nullptr) {
    ASSIGN_OR_RETURN(value, ApplyFilters(*statement.expression, value, scope));
  }
  return Assign(statement.target, value, scope);
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunWith(const Statement& statement, Scope* scope) {
  Scope* inside = heap_.New<Scope>(scope);
  for (const auto& [target, expression] : statement.bindings) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*expression, scope));
    RETURN_IF_ERROR(Assign(target, value, inside));
  }
  return RunScope(statement.body, statement.hidden, inside);
}

absl::Status Evaluator::RunFilterBlock(const Statement& statement, Scope* scope) {
  Scope* inside = heap_.New<Scope>(scope);
  ASSIGN_OR_RETURN(Text text, Capture(statement, inside));
  ASSIGN_OR_RETURN(const Value value,
                   ApplyFilters(*statement.expression, heap_.NewText(std::move(text)), scope));
  return Write(value);
}

absl::Status Evaluator::RunCallBlock(const Statement& statement, Scope* scope) {
  const Expression& call = *statement.expression;
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*call.operands[0], scope));
  Arguments arguments;
  RETURN_IF_ERROR(EvaluateArguments(call.arguments, scope, &arguments));
  arguments.keywords.emplace_back(heap_.NewText("caller"), NewMacro(statement, -1, scope));
  ASSIGN_OR_RETURN(const Value value, CallValue(&runtime_, callee, arguments));
  return Write(value);
}

}  // namespace hydrad::jinja
