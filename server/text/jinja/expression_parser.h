// Parses the expressions of a template.
#ifndef HYDRAD_SERVER_TEXT_JINJA_EXPRESSION_PARSER_H_
#define HYDRAD_SERVER_TEXT_JINJA_EXPRESSION_PARSER_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/text/jinja/template_ast.h"
#include "server/text/jinja/token_stream.h"

namespace hydrad::jinja {

// Reads from the stream and numbers variables in the symbols; keeps both addresses. Each method parses what
// its name says from the current token on. Errors say the line, and name what we do not have.
class ExpressionParser {
 public:
  // What nests deeper, expressions and statements together, is refused.
  static constexpr int kMaxDepth = 100;
  static constexpr int kMaxHeight = 200;  // levels of one expression's tree

  ExpressionParser(TokenStream* stream, Symbols* symbols) : stream_(*stream), symbols_(*symbols) {}

  // One expression; `with_choice`: it may be "a if b else c".
  absl::StatusOr<ExpressionPtr> Parse(bool with_choice = true);
  // One expression, or several with commas between them, which make a tuple. It ends before the name
  // `end_name`, if one is given.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_choice = true, std::string_view end_name = "",
                                           bool in_parentheses = false);
  // Filters with their arguments on `operand`, which may be null; the first stands without '|' if `inside`.
  absl::StatusOr<ExpressionPtr> ParseFilters(ExpressionPtr operand, bool inside = false);
  // What an assignment assigns to. A name only, if `name_only`; attributes of namespaces if `attributes`.
  absl::StatusOr<Target> ParseTarget(bool attributes, std::string_view end_name = "");

  Symbol Intern(const std::string& name) { return symbols_.Intern(name); }
  // Counts a level of nesting. REQUIRES: Leave follows each success.
  absl::Status Enter();
  void Leave() { --depth_; }
  // The variables that expressions have read so far, in the order of the source.
  const std::vector<Symbol>& reads() const { return reads_; }

 private:
  using Type = Expression::Type;
  using Result = absl::StatusOr<ExpressionPtr>;
  using Node = std::unique_ptr<Expression>;

  Result ParseOr();
  Result ParseAnd();
  Result ParseNot();
  Result ParseCompare();
  Result ParseSum();
  Result ParseConcat();
  Result ParseProduct();
  Result ParsePower();
  Result ParseUnary(bool with_filter);
  Result ParsePrimary();
  Result ParseConstant(const Token& token);
  Result ParseStrings();
  Result ParseList();
  Result ParseDict();
  Result ParsePostfix(ExpressionPtr node);
  Result ParseFiltersAndTests(ExpressionPtr node);
  Result ParseSubscript(ExpressionPtr node);
  Result ParseSliceOrElement(ExpressionPtr node);
  Result ParseTest(ExpressionPtr node);
  Result ParseCall(ExpressionPtr node);
  absl::Status ParseArguments(CallArguments* arguments);
  absl::Status ParseArgument(CallArguments* arguments);
  absl::StatusOr<Target> ParseOneTarget(bool attributes);

  // "left op right op right ...", each side parsed by `side`.
  template <class Operators>
  Result ParseLeft(Result (ExpressionParser::*side)(), const Operators& operators);
  bool AtTupleEnd(std::string_view end_name) const;

  Node Make(Type type) const;
  // The finished node; an error if its tree is too high.
  Result Finish(Node node) const;

  TokenStream& stream_;
  Symbols& symbols_;
  std::vector<Symbol> reads_;
  int depth_ = 0;
};

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_EXPRESSION_PARSER_H_
