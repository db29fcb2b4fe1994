#include "server/text/jinja/hidden_names.h"

#include <unordered_set>

namespace hydrad::jinja {
namespace {

using Type = Statement::Type;

// The names that one body uses itself, without those inside.
class Frame {
 public:
  explicit Frame(const Frame* parent) : parent_(parent) {}

  void Load(Symbol symbol) { used_.insert(symbol); }
  void Store(Symbol symbol, bool in_branch) {
    if (!used_.insert(symbol).second || in_branch) return;
    for (const Frame* frame = parent_; frame != nullptr; frame = frame->parent_) {
      if (frame->used_.contains(symbol)) return;
    }
    hidden.push_back(symbol);
  }

  std::vector<Symbol> hidden;

 private:
  const Frame* const parent_;
  std::unordered_set<Symbol> used_;
};

void LoadAll(const Expression* node, Frame* frame) {
  if (node == nullptr) return;
  if (node->type == Expression::Type::kName) frame->Load(node->symbol);
  for (const ExpressionPtr& operand : node->operands) LoadAll(operand.get(), frame);
  for (const ExpressionPtr& argument : node->arguments.positional) LoadAll(argument.get(), frame);
  for (const auto& [name, argument] : node->arguments.keywords) LoadAll(argument.get(), frame);
  LoadAll(node->arguments.more_positional.get(), frame);
  LoadAll(node->arguments.more_keywords.get(), frame);
}

void StoreAll(const Target& target, bool in_branch, Frame* frame) {
  for (const Target& part : target.parts) StoreAll(part, in_branch, frame);
  if (target.is_tuple) return;
  if (target.attribute.Is(Kind::kText)) {
    frame->Load(target.symbol);
  } else {
    frame->Store(target.symbol, in_branch);
  }
}

// Notes what the statements of a body use in its own frame.
void UseBody(const Body& body, bool in_branch, Frame* frame) {
  for (const auto& statement : body) {
    switch (statement->type) {
      case Type::kIf:
        for (const auto& [condition, inside] : statement->branches) {
          LoadAll(condition.get(), frame);
          UseBody(inside, /*in_branch=*/true, frame);
        }
        UseBody(statement->otherwise, /*in_branch=*/true, frame);
        break;
      case Type::kSet:
        LoadAll(statement->expression.get(), frame);
        StoreAll(statement->target, in_branch, frame);
        break;
      case Type::kSetBlock:
      case Type::kMacro:
        StoreAll(statement->target, in_branch, frame);
        break;
      case Type::kWith:
        for (const auto& [target, value] : statement->bindings) LoadAll(value.get(), frame);
        break;
      default:
        LoadAll(statement->expression.get(), frame);
    }
  }
}

void VisitBodies(const Template& source, const Body& body, const Frame& frame);

// Fills in `hidden` for a body inside `parent`, whose `parameters` are set at its beginning.
void VisitBody(const Template& source, const Body& body, const std::vector<Symbol>& parameters,
               const Statement* owner, const Frame& parent, std::vector<Symbol>* hidden) {
  Frame frame(&parent);
  for (const Symbol symbol : parameters) frame.Load(symbol);
  if (owner != nullptr) {
    for (const ExpressionPtr& value : owner->signature.defaults) LoadAll(value.get(), &frame);
  }
  UseBody(body, /*in_branch=*/false, &frame);
  *hidden = std::move(frame.hidden);
  VisitBodies(source, body, frame);
}

void AddNames(const Target& target, std::vector<Symbol>* names) {
  for (const Target& part : target.parts) AddNames(part, names);
  if (!target.is_tuple) names->push_back(target.symbol);
}

// What is set at the beginning of the statement's body.
std::vector<Symbol> Parameters(const Template& source, const Statement& statement) {
  std::vector<Symbol> names = statement.signature.parameters;
  if (statement.type == Type::kFor) {
    AddNames(statement.target, &names);
    names.push_back(source.loop_symbol);
  }
  for (const auto& [target, value] : statement.bindings) AddNames(target, &names);
  if (statement.signature.uses_caller) names.push_back(source.caller_symbol);
  if (statement.signature.uses_varargs) names.push_back(source.varargs_symbol);
  if (statement.signature.uses_kwargs) names.push_back(source.kwargs_symbol);
  return names;
}

// Visits the bodies inside a body whose frame is complete.
void VisitBodies(const Template& source, const Body& body, const Frame& frame) {
  for (const auto& statement : body) {
    if (statement->type == Type::kIf) {
      for (const auto& [condition, inside] : statement->branches) VisitBodies(source, inside, frame);
      VisitBodies(source, statement->otherwise, frame);
      continue;
    }
    VisitBody(source, statement->body, Parameters(source, *statement), statement.get(), frame,
              &statement->hidden);
    VisitBody(source, statement->otherwise, {}, nullptr, frame, &statement->hidden_otherwise);
  }
}

}  // namespace

void FindHiddenNames(Template* source) {
  Frame root(nullptr);
  UseBody(source->body, /*in_branch=*/false, &root);
  source->hidden = root.hidden;
  VisitBodies(*source, source->body, root);
}

}  // namespace hydrad::jinja
