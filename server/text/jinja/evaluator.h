// Runs a template: evaluates its expressions and carries out its statements.
#ifndef HYDRAD_SERVER_TEXT_JINJA_EVALUATOR_H_
#define HYDRAD_SERVER_TEXT_JINJA_EVALUATOR_H_

#include <absl/status/statusor.h>

#include <utility>
#include <vector>

#include "server/text/jinja/template_ast.h"
#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// Variables of a body: a loop's round, a macro's call, a block. What is set in one is not seen outside.
struct Scope : Object {
  explicit Scope(Scope* parent) : parent(parent) {}

  // The variable here or in the scopes around, or null.
  const Value* Find(Symbol symbol) const;
  void Set(Symbol symbol, Value value);

  Scope* const parent;
  std::vector<std::pair<Symbol, Value>> variables;
  bool captured = false;  // a macro that may outlive the body sees it
};

// One rendering, on one thread. Errors begin with the line, but for those of raise_exception.
class Evaluator {
 public:
  // Keeps all addresses. `out` gets what the template writes.
  Evaluator(const Template& source, Runtime* runtime, TextBuilder* out)
      : template_(source), runtime_(*runtime), heap_(runtime->heap), out_(out) {}

  // Runs the whole template with `root`, which holds the context.
  absl::Status Run(Scope* root);

 private:
  enum class Flow { kOn, kBreak, kContinue };
  using Result = absl::StatusOr<Value>;

  // evaluator.cc: expressions.
  Result Evaluate(const Expression& node, Scope* scope);
  Result EvaluateNode(const Expression& node, Scope* scope);
  Result EvaluateName(const Expression& node, Scope* scope);
  Result EvaluateItems(const Expression& node, Kind kind, Scope* scope);
  Result EvaluateDict(const Expression& node, Scope* scope);
  Result EvaluateLogic(const Expression& node, Scope* scope);
  Result EvaluateCompare(const Expression& node, Scope* scope);
  Result EvaluateConcat(const Expression& node, Scope* scope);
  Result EvaluateSlice(const Expression& node, Scope* scope);
  Result EvaluateCall(const Expression& node, Scope* scope);
  // A filter or test on `operand`.
  Result Apply(const Expression& node, const Value& operand, Scope* scope);
  absl::Status EvaluateArguments(const CallArguments& from, Scope* scope, Arguments* out);
  absl::Status SpreadArguments(const CallArguments& from, Scope* scope, Arguments* out);

  // statements.cc
  absl::StatusOr<Flow> RunBody(const Body& body, Scope* scope);
  // The same in a scope that begins with it.
  absl::StatusOr<Flow> RunScope(const Body& body, const std::vector<Symbol>& hidden, Scope* scope);
  absl::StatusOr<Flow> RunStatement(const Statement& statement, Scope* scope);
  absl::StatusOr<Flow> RunIf(const Statement& statement, Scope* scope);
  absl::Status RunSetBlock(const Statement& statement, Scope* scope);
  absl::StatusOr<Flow> RunWith(const Statement& statement, Scope* scope);
  absl::Status RunFilterBlock(const Statement& statement, Scope* scope);
  absl::Status RunCallBlock(const Statement& statement, Scope* scope);
  absl::Status Write(const Value& value);
  absl::Status Assign(const Target& target, const Value& value, Scope* scope);
  // What the statement's body writes, as a string.
  absl::StatusOr<Text> Capture(const Statement& statement, Scope* scope);
  // The value of a block's text behind its filters, the innermost of which has no operand.
  Result ApplyFilters(const Expression& node, const Value& text, Scope* scope);

  // loops_and_macros.cc
  absl::StatusOr<Flow> RunFor(const Statement& statement, Scope* scope);
  absl::Status RunLoop(const Statement& statement, const Value& items, int64_t depth, Scope* scope);
  absl::Status OpenLoop(const Statement& statement, const Value& items, int64_t depth, Scope* scope,
                        Loop* loop);
  absl::StatusOr<Flow> RunRound(const Statement& statement, Loop* loop, Scope* round);
  Value NewMacro(const Statement& statement, Symbol name, Scope* scope);
  Result CallMacro(const Statement& statement, std::string_view name, const Arguments& arguments,
                   Scope* scope);
  absl::Status BindParameters(const Statement& statement, std::string_view name, const Arguments& arguments,
                              Scope* inside);
  absl::Status BindRest(const Statement& statement, std::string_view name, const Arguments& arguments,
                        Scope* inside);

  const Template& template_;
  Runtime& runtime_;
  Heap& heap_;
  TextBuilder* out_;  // where output goes just now
};

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_EVALUATOR_H_
