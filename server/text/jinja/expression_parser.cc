#include "server/text/jinja/expression_parser.h"

#include <algorithm>
#include <iterator>

#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/value_tests.h"

namespace hydrad::jinja {

Symbol Symbols::Intern(const std::string& name) {
  const auto [found, added] = by_name_.try_emplace(name, size());
  if (added) names_.push_back(std::make_shared<const Text>(name));
  return found->second;
}

absl::Status ExpressionParser::Enter() {
  if (depth_ >= kMaxDepth) return stream_.Error("nested more than {} levels deep", kMaxDepth);
  ++depth_;
  return absl::OkStatus();
}

ExpressionParser::Node ExpressionParser::Make(Type type) const {
  auto node = std::make_unique<Expression>();
  node->type = type;
  node->line = stream_.line();
  return node;
}

ExpressionParser::Result ExpressionParser::Finish(Node node) const {
  const auto grow = [&](const ExpressionPtr& child) {
    if (child != nullptr) node->height = std::max(node->height, child->height + 1);
  };
  for (const ExpressionPtr& operand : node->operands) grow(operand);
  for (const ExpressionPtr& argument : node->arguments.positional) grow(argument);
  for (const auto& [name, argument] : node->arguments.keywords) grow(argument);
  grow(node->arguments.more_positional);
  grow(node->arguments.more_keywords);
  if (node->height > kMaxHeight) return stream_.Error("an expression of more than {} levels", kMaxHeight);
  return ExpressionPtr(std::move(node));
}

ExpressionParser::Result ExpressionParser::Parse(bool with_choice) {
  RETURN_IF_ERROR(Enter());
  Result value = ParseOr();
  while (with_choice && value.ok() && stream_.SkipName("if")) {
    Node node = Make(Type::kChoice);
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (stream_.SkipName("else")) {
      ASSIGN_OR_RETURN(otherwise, Parse());
    }
    node->operands.push_back(std::move(condition));
    node->operands.push_back(*std::move(value));
    node->operands.push_back(std::move(otherwise));
    value = Finish(std::move(node));
  }
  Leave();
  return value;
}

template <class Operators>
ExpressionParser::Result ExpressionParser::ParseLeft(Result (ExpressionParser::*side)(),
                                                     const Operators& operators) {
  ASSIGN_OR_RETURN(ExpressionPtr left, (this->*side)());
  for (;;) {
    const Token& token = stream_.current();
    const bool found =
        token.kind == TokenKind::kOperator &&
        std::find(std::begin(operators), std::end(operators), token.text) != std::end(operators);
    if (!found) return left;
    Node node = Make(Type::kBinary);
    node->operators.push_back(stream_.Take().text);
    node->operands.push_back(std::move(left));
    ASSIGN_OR_RETURN(ExpressionPtr right, (this->*side)());
    node->operands.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
}

ExpressionParser::Result ExpressionParser::ParseOr() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  while (stream_.SkipName("or")) {
    Node node = Make(Type::kOr);
    node->operands.push_back(std::move(left));
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    node->operands.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

ExpressionParser::Result ExpressionParser::ParseAnd() {
  ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  while (stream_.SkipName("and")) {
    Node node = Make(Type::kAnd);
    node->operands.push_back(std::move(left));
    ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    node->operands.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

ExpressionParser::Result ExpressionParser::ParseNot() {
  if (!stream_.current().IsName("not")) return ParseCompare();
  Node node = Make(Type::kNot);
  stream_.Take();
  RETURN_IF_ERROR(Enter());
  ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  Leave();
  node->operands.push_back(std::move(operand));
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParseCompare() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  Node node = Make(Type::kCompare);
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  node->operands.push_back(std::move(first));
  for (;;) {
    const Token& token = stream_.current();
    if (token.kind == TokenKind::kOperator &&
        std::find(std::begin(kOperators), std::end(kOperators), token.text) != std::end(kOperators)) {
      node->operators.push_back(stream_.Take().text);
    } else if (stream_.SkipName("in")) {
      node->operators.emplace_back("in");
    } else if (token.IsName("not") && stream_.look().IsName("in")) {
      stream_.Take();
      stream_.Take();
      node->operators.emplace_back("not in");
    } else {
      break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
    node->operands.push_back(std::move(next));
  }
  if (node->operators.empty()) return std::move(node->operands[0]);
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParseSum() {
  static constexpr std::string_view kOperators[] = {"+", "-"};
  return ParseLeft(&ExpressionParser::ParseConcat, kOperators);
}

ExpressionParser::Result ExpressionParser::ParseConcat() {
  Node node = Make(Type::kConcat);
  do {
    ASSIGN_OR_RETURN(ExpressionPtr part, ParseProduct());
    node->operands.push_back(std::move(part));
  } while (stream_.SkipOperator("~"));
  if (node->operands.size() == 1) return std::move(node->operands[0]);
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParseProduct() {
  static constexpr std::string_view kOperators[] = {"*", "/", "//", "%"};
  return ParseLeft(&ExpressionParser::ParsePower, kOperators);
}

ExpressionParser::Result ExpressionParser::ParsePower() {
  static constexpr std::string_view kOperators[] = {"**"};
  const auto unary = [](ExpressionParser* parser) { return parser->ParseUnary(/*with_filter=*/true); };
  ASSIGN_OR_RETURN(ExpressionPtr left, unary(this));
  while (stream_.current().IsOperator(kOperators[0])) {
    Node node = Make(Type::kBinary);
    node->operators.push_back(stream_.Take().text);
    node->operands.push_back(std::move(left));
    ASSIGN_OR_RETURN(ExpressionPtr right, unary(this));
    node->operands.push_back(std::move(right));
    ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

ExpressionParser::Result ExpressionParser::ParseUnary(bool with_filter) {
  Result node = nullptr;
  const bool negative = stream_.current().IsOperator("-");
  if (negative || stream_.current().IsOperator("+")) {
    Node sign = Make(negative ? Type::kNegative : Type::kPositive);
    stream_.Take();
    RETURN_IF_ERROR(Enter());
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(/*with_filter=*/false));
    Leave();
    sign->operands.push_back(std::move(operand));
    node = Finish(std::move(sign));
  } else {
    node = ParsePrimary();
  }
  if (!node.ok()) return node;
  node = ParsePostfix(*std::move(node));
  if (!node.ok() || !with_filter) return node;
  return ParseFiltersAndTests(*std::move(node));
}

bool ExpressionParser::AtTupleEnd(std::string_view end_name) const {
  const Token& token = stream_.current();
  if (token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd) return true;
  return token.IsOperator(")") || (!end_name.empty() && token.IsName(end_name));
}

ExpressionParser::Result ExpressionParser::ParseTuple(bool with_choice, std::string_view end_name,
                                                      bool in_parentheses) {
  Node tuple = Make(Type::kTuple);
  bool comma = false;
  while (!AtTupleEnd(end_name)) {
    ASSIGN_OR_RETURN(ExpressionPtr item, Parse(with_choice));
    tuple->operands.push_back(std::move(item));
    if (!stream_.SkipOperator(",")) break;
    comma = true;
  }
  if (comma || (in_parentheses && tuple->operands.empty())) return Finish(std::move(tuple));
  if (tuple->operands.empty())
    return stream_.Error("expected an expression, not {}", Describe(stream_.current()));
  return std::move(tuple->operands[0]);
}

absl::StatusOr<Target> ExpressionParser::ParseOneTarget(bool attributes) {
  if (stream_.SkipOperator("(")) {
    RETURN_IF_ERROR(Enter());
    ASSIGN_OR_RETURN(Target target, ParseTarget(/*attributes=*/false));
    Leave();
    RETURN_IF_ERROR(stream_.ExpectOperator(")"));
    return target;
  }
  const std::string spelled = stream_.current().text;
  ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (name == constant) return stream_.Error("cannot assign to '{}'", name);
  }
  Target target;
  target.symbol = Intern(name);
  if (attributes && stream_.SkipOperator(".")) {
    ASSIGN_OR_RETURN(const std::string attribute, stream_.ExpectName());
    target.attribute = Value::Of(std::make_shared<const Text>(attribute));
  }
  return target;
}

absl::StatusOr<Target> ExpressionParser::ParseTarget(bool attributes, std::string_view end_name) {
  Target tuple;
  tuple.is_tuple = true;
  bool comma = false;
  while (!AtTupleEnd(end_name)) {
    ASSIGN_OR_RETURN(Target part, ParseOneTarget(attributes));
    tuple.parts.push_back(std::move(part));
    if (!stream_.SkipOperator(",")) break;
    comma = true;
  }
  if (tuple.parts.empty()) return stream_.Error("expected a name, not {}", Describe(stream_.current()));
  if (comma) return tuple;
  return std::move(tuple.parts[0]);
}

}  // namespace hydrad::jinja
