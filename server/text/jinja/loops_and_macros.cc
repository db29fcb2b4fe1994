// The loops and macros of a template.
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/evaluator.h"
#include "server/text/jinja/template_error.h"

namespace hydrad::jinja {

absl::StatusOr<Evaluator::Flow> Evaluator::RunFor(const Statement& statement, Scope* scope) {
  ASSIGN_OR_RETURN(const Value items, Evaluate(*statement.expression, scope));
  RETURN_IF_ERROR(RunLoop(statement, items, /*depth=*/0, scope));
  return Flow::kOn;
}

absl::Status Evaluator::OpenLoop(const Statement& statement, const Value& items, int64_t depth, Scope* scope,
                                 Loop* loop) {
  loop->depth0 = depth;
  ASSIGN_OR_RETURN(Iterator* const source, Iterate(&runtime_, items));
  if (statement.condition == nullptr) {
    if (const auto length = Length(items); length.ok()) loop->length = *length;
    loop->fetch = [source](Value* out) { return source->Next(out); };
  } else {
    loop->fetch = [this, &statement, source, scope](Value* out) -> absl::StatusOr<bool> {
      for (;;) {
        ASSIGN_OR_RETURN(const bool found, source->Next(out));
        if (!found) return false;
        Scope inside(scope);
        RETURN_IF_ERROR(Assign(statement.target, *out, &inside));
        ASSIGN_OR_RETURN(const Value passes, Evaluate(*statement.condition, &inside));
        if (Truth(passes)) return true;
      }
    };
  }
  if (statement.recursive) {
    loop->recurse = [this, &statement, scope, depth](const Value& inner) -> Result {
      TextBuilder text = heap_.Builder();
      TextBuilder* const outside = std::exchange(out_, &text);
      const absl::Status status = RunLoop(statement, inner, depth + 1, scope);
      out_ = outside;
      RETURN_IF_ERROR(status);
      return heap_.NewText(&text);
    };
  }
  return absl::OkStatus();
}

absl::Status Evaluator::RunLoop(const Statement& statement, const Value& items, int64_t depth, Scope* scope) {
  Loop* loop = heap_.New<Loop>();
  RETURN_IF_ERROR(OpenLoop(statement, items, depth, scope, loop));
  Scope* round = nullptr;
  bool completed = false;  // a round came to its end, neither by break nor by continue
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, loop->Peek());
    if (!found) break;
    // A round's variables are its own; the memory of the last round is used again where nobody sees it.
    if (round == nullptr || round->captured) round = heap_.New<Scope>(scope);
    round->variables.clear();
    ASSIGN_OR_RETURN(const Flow flow, RunRound(statement, loop, round));
    completed |= flow == Flow::kOn;
    if (flow == Flow::kBreak) break;
  }
  if (completed || statement.otherwise.empty()) return absl::OkStatus();
  return RunScope(statement.otherwise, statement.hidden_otherwise, heap_.New<Scope>(scope)).status();
}

// Runs the body for the next element.
absl::StatusOr<Evaluator::Flow> Evaluator::RunRound(const Statement& statement, Loop* loop, Scope* round) {
  loop->previous = std::move(loop->current);
  loop->current = std::move(loop->ahead.front());
  loop->ahead.pop_front();
  ++loop->index0;
  round->Set(template_.loop_symbol, Value::Of(Kind::kLoop, loop));
  RETURN_IF_ERROR(Assign(statement.target, loop->current, round));
  return RunScope(statement.body, statement.hidden, round);
}

Value Evaluator::NewMacro(const Statement& statement, Symbol name, Scope* scope) {
  for (Scope* seen = scope; seen != nullptr && !seen->captured; seen = seen->parent) seen->captured = true;
  const std::string_view text = name < 0 ? "caller" : std::string_view(template_.symbols.Name(name)->bytes);
  return NewCallable(&runtime_, [this, &statement, text, scope](const Arguments& arguments) {
    return CallMacro(statement, text, arguments, scope);
  });
}

Evaluator::Result Evaluator::CallMacro(const Statement& statement, std::string_view name,
                                       const Arguments& arguments, Scope* scope) {
  Nesting nesting(&runtime_);
  RETURN_IF_ERROR(nesting.status());
  Scope* inside = heap_.New<Scope>(scope);
  RETURN_IF_ERROR(BindParameters(statement, name, arguments, inside));
  ASSIGN_OR_RETURN(Text text, Capture(statement, inside));
  return heap_.NewText(std::move(text));
}

absl::Status Evaluator::BindParameters(const Statement& statement, std::string_view name,
                                       const Arguments& arguments, Scope* inside) {
  const Signature& signature = statement.signature;
  const size_t count = signature.parameters.size();
  const size_t without_default = count - signature.defaults.size();
  for (size_t i = 0; i < count; ++i) {
    const Symbol symbol = signature.parameters[i];
    const auto& parameter = template_.symbols.Name(symbol);
    const Value* keyword = arguments.Keyword(parameter->bytes);
    if (i < arguments.positional.size()) {
      if (keyword != nullptr)
        return InvalidArgument("the macro '{}' is given '{}' twice", name, parameter->bytes);
      inside->Set(symbol, arguments.positional[i]);
    } else if (keyword != nullptr) {
      inside->Set(symbol, *keyword);
    } else if (i >= without_default) {
      ASSIGN_OR_RETURN(Value value, Evaluate(*signature.defaults[i - without_default], inside));
      inside->Set(symbol, std::move(value));
    } else {
      inside->Set(symbol, Value::Undefined(parameter));
    }
  }
  return BindRest(statement, name, arguments, inside);
}

absl::Status Evaluator::BindRest(const Statement& statement, std::string_view name,
                                 const Arguments& arguments, Scope* inside) {
  const Signature& signature = statement.signature;
  const size_t count = signature.parameters.size();
  Dict* rest = heap_.New<Dict>();
  for (const auto& [keyword, value] : arguments.keywords) {
    bool known = false;
    for (const Symbol symbol : signature.parameters)
      known |= template_.symbols.Name(symbol)->bytes == keyword.bytes();
    if (known) continue;
    if (keyword.bytes() == "caller" && signature.uses_caller) {
      inside->Set(template_.caller_symbol, value);
    } else if (signature.uses_kwargs) {
      RETURN_IF_ERROR(rest->Set(keyword, value));
    } else {
      return InvalidArgument("the macro '{}' has no parameter '{}'", name, keyword.bytes());
    }
  }
  if (signature.uses_caller && arguments.Keyword("caller") == nullptr) {
    inside->Set(template_.caller_symbol, Value::Undefined(template_.symbols.Name(template_.caller_symbol)));
  }
  if (signature.uses_kwargs) inside->Set(template_.kwargs_symbol, Value::Of(Kind::kDict, rest));
  if (signature.uses_varargs) {
    std::vector<Value> more;
    if (arguments.positional.size() > count) {
      more.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
                  arguments.positional.end());
    }
    inside->Set(template_.varargs_symbol, heap_.NewTuple(std::move(more)));
  } else if (arguments.positional.size() > count) {
    return InvalidArgument("the macro '{}' takes at most {} arguments, not {}", name, count,
                           arguments.positional.size());
  }
  return absl::OkStatus();
}

}  // namespace hydrad::jinja
