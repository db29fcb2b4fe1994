// A template as a tree. Immutable once parsed.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_AST_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_AST_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/text/jinja/template_value.h"

namespace hydrad::jinja {

struct Builtin;
struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<const Expression>;
using Body = std::vector<std::unique_ptr<Statement>>;

// A variable's number in its template.
using Symbol = int;

// The names of a template's variables, by number.
class Symbols {
 public:
  Symbol Intern(const std::string& name);
  const std::shared_ptr<const Text>& Name(Symbol symbol) const { return names_[symbol]; }
  int size() const { return static_cast<int>(names_.size()); }

 private:
  std::vector<std::shared_ptr<const Text>> names_;
  std::unordered_map<std::string, Symbol> by_name_;
};

// The arguments of a call, a filter or a test.
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<Value, ExpressionPtr>> keywords;
  ExpressionPtr more_positional;  // *expression, or null
  ExpressionPtr more_keywords;    // **expression, or null
};

struct Expression {
  enum class Type {
    kConstant,   // constant
    kName,       // symbol
    kList,       // operands
    kTuple,      // operands
    kDict,       // operands: key, value, key, value
    kNot,        // operands[0]
    kNegative,   // operands[0]
    kPositive,   // operands[0]
    kAnd,        // operands[0], [1]
    kOr,         // operands[0], [1]
    kBinary,     // operators[0] between operands[0] and [1]
    kCompare,    // operands[0] operators[0] operands[1] operators[1] ...
    kConcat,     // operands
    kChoice,     // operands: condition, value, value otherwise (may be null)
    kAttribute,  // constant (a string) of operands[0]
    kElement,    // operands[1] of operands[0]
    kSlice,      // operands: object, begin, end, step; all but the first may be null
    kCall,       // operands[0] with arguments
    kFilter,     // builtin on operands[0] with arguments; null in a filter block: the block's text
    kTest,       // the same
  };

  Type type;
  int line;
  int height = 1;  // levels of this tree
  Value constant;
  Symbol symbol = -1;
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> operators;
  CallArguments arguments;
  const Builtin* builtin = nullptr;
};

// What an assignment assigns to: a variable, an attribute of a namespace, or a tuple of targets.
struct Target {
  Symbol symbol = -1;         // the variable, or the namespace
  Value attribute;            // a string where it is a namespace's attribute, else undefined
  std::vector<Target> parts;  // not empty: a tuple
  bool is_tuple = false;
};

// What a macro takes, and what its body asks for.
struct Signature {
  std::vector<Symbol> parameters;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

struct Statement {
  enum class Type {
    kText,         // text
    kOutput,       // expression
    kIf,           // branches of expression and body; `otherwise`
    kFor,          // target, expression, condition (may be null), body, otherwise, recursive
    kSet,          // target, expression
    kSetBlock,     // target, expression (a filter or null), body
    kWith,         // targets and expressions, body
    kMacro,        // target, signature, body
    kCallBlock,    // expression (a call), signature, body
    kFilterBlock,  // expression (a filter), body
    kGeneration,   // body
    kBreak,
    kContinue,
  };

  Type type;
  int line;
  Text text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<Target, ExpressionPtr>> bindings;
  Target target;
  Body body, otherwise;
  std::vector<Symbol> hidden, hidden_otherwise;  // of the two bodies (hidden_names.h)
  bool recursive = false;
  Signature signature;
};

struct Template {
  Body body;
  std::vector<Symbol> hidden;
  Symbols symbols;
  // Variables that the language itself sets.
  Symbol loop_symbol, caller_symbol, varargs_symbol, kwargs_symbol;
};

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_AST_H_
