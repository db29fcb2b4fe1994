// The half of ExpressionParser behind the operators: constants, names, brackets, calls, filters and tests.
#include <charconv>

#include "server/base/status_macros.h"
#include "server/text/jinja/expression_parser.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/refused_names.h"
#include "server/text/jinja/value_tests.h"

namespace hydrad::jinja {
namespace {

Value TextConstant(std::string_view text) { return Value::Of(std::make_shared<const Text>(text)); }

// The value of an integer's digits with their prefix; false if it has more than 64 bits.
bool ReadInteger(std::string_view digits, int64_t* value) {
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0') {
    const char letter = static_cast<char>(digits[1] | 0x20);
    base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, *value, base);
  return error == std::errc() && stop == end;
}

}  // namespace

ExpressionParser::Result ExpressionParser::ParseStrings() {
  Node node = Make(Type::kConstant);
  std::string text;
  while (stream_.current().kind == TokenKind::kString) text += stream_.Take().text;
  node->constant = TextConstant(text);
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParseConstant(const Token& token) {
  Node node = Make(Type::kConstant);
  if (token.kind == TokenKind::kInteger) {
    int64_t value;
    if (!ReadInteger(token.text, &value))
      return stream_.Error("an integer of more than 64 bits: {}", token.text);
    node->constant = Value::Int(value);
  } else if (token.kind == TokenKind::kFloat) {
    double value = 0;
    std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
    node->constant = Value::Float(value);
  } else if (token.text == "none" || token.text == "None") {
    node->constant = Value::None();
  } else {
    node->constant = Value::Bool(token.text == "true" || token.text == "True");
  }
  stream_.Take();
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParsePrimary() {
  const Token& token = stream_.current();
  if (token.kind == TokenKind::kString) return ParseStrings();
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat) return ParseConstant(token);
  if (token.kind == TokenKind::kName) {
    for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
      if (token.text == constant) return ParseConstant(token);
    }
    Node node = Make(Type::kName);
    node->symbol = Intern(token.text);
    reads_.push_back(node->symbol);
    stream_.Take();
    return Finish(std::move(node));
  }
  if (token.IsOperator("[")) return ParseList();
  if (token.IsOperator("{")) return ParseDict();
  if (stream_.SkipOperator("(")) {
    ASSIGN_OR_RETURN(ExpressionPtr inside, ParseTuple(true, "", /*in_parentheses=*/true));
    RETURN_IF_ERROR(stream_.ExpectOperator(")"));
    return inside;
  }
  return stream_.Error("unexpected {}", Describe(token));
}

ExpressionParser::Result ExpressionParser::ParseList() {
  Node node = Make(Type::kList);
  stream_.Take();
  while (!stream_.current().IsOperator("]")) {
    if (!node->operands.empty()) {
      RETURN_IF_ERROR(stream_.ExpectOperator(","));
      if (stream_.current().IsOperator("]")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr item, Parse());
    node->operands.push_back(std::move(item));
  }
  stream_.Take();
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParseDict() {
  Node node = Make(Type::kDict);
  stream_.Take();
  while (!stream_.current().IsOperator("}")) {
    if (!node->operands.empty()) {
      RETURN_IF_ERROR(stream_.ExpectOperator(","));
      if (stream_.current().IsOperator("}")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr key, Parse());
    RETURN_IF_ERROR(stream_.ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, Parse());
    node->operands.push_back(std::move(key));
    node->operands.push_back(std::move(value));
  }
  stream_.Take();
  return Finish(std::move(node));
}

ExpressionParser::Result ExpressionParser::ParsePostfix(ExpressionPtr node) {
  for (;;) {
    const Token& token = stream_.current();
    if (token.IsOperator(".") || token.IsOperator("[")) {
      ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (token.IsOperator("(")) {
      ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

ExpressionParser::Result ExpressionParser::ParseSubscript(ExpressionPtr node) {
  if (stream_.SkipOperator("[")) return ParseSliceOrElement(std::move(node));
  Node out = Make(Type::kAttribute);
  stream_.Take();
  const Token& name = stream_.current();
  if (name.kind == TokenKind::kName) {
    out->constant = TextConstant(name.text);
    out->operands.push_back(std::move(node));
    stream_.Take();
    return Finish(std::move(out));
  }
  if (name.kind != TokenKind::kInteger) return stream_.Error("expected a name or a number behind '.'");
  out->type = Type::kElement;
  out->operands.push_back(std::move(node));
  ASSIGN_OR_RETURN(ExpressionPtr index, ParseConstant(name));
  out->operands.push_back(std::move(index));
  return Finish(std::move(out));
}

ExpressionParser::Result ExpressionParser::ParseSliceOrElement(ExpressionPtr node) {
  Node out = Make(Type::kSlice);
  out->operands.push_back(std::move(node));
  int colons = 0;
  while (!stream_.current().IsOperator("]")) {
    if (stream_.SkipOperator(":")) {
      if (++colons > 2) return stream_.Error("a slice with more than two ':'");
      out->operands.resize(1 + colons);
      continue;
    }
    if (static_cast<int>(out->operands.size()) != 1 + colons) {
      return stream_.Error("expected ']', not {}", Describe(stream_.current()));
    }
    ASSIGN_OR_RETURN(ExpressionPtr part, Parse());
    out->operands.push_back(std::move(part));
  }
  if (out->operands.size() == 1 && colons == 0) return stream_.Error("expected an expression, not ']'");
  stream_.Take();
  if (colons == 0) {
    out->type = Type::kElement;
  } else {
    out->operands.resize(4);
  }
  return Finish(std::move(out));
}

ExpressionParser::Result ExpressionParser::ParseFiltersAndTests(ExpressionPtr node) {
  for (;;) {
    const Token& token = stream_.current();
    if (token.IsOperator("|")) {
      ASSIGN_OR_RETURN(node, ParseFilters(std::move(node)));
    } else if (token.IsName("is")) {
      ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (token.IsOperator("(")) {
      ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

ExpressionParser::Result ExpressionParser::ParseFilters(ExpressionPtr operand, bool inside) {
  while (inside || stream_.SkipOperator("|")) {
    inside = false;
    Node node = Make(Type::kFilter);
    ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
    node->builtin = FindFilter(name);
    if (node->builtin == nullptr) return stream_.Error("the filter '{}' is not supported", name);
    node->operands.push_back(std::move(operand));
    if (stream_.current().IsOperator("(")) RETURN_IF_ERROR(ParseArguments(&node->arguments));
    ASSIGN_OR_RETURN(operand, Finish(std::move(node)));
  }
  return operand;
}

ExpressionParser::Result ExpressionParser::ParseTest(ExpressionPtr operand) {
  Node node = Make(Type::kTest);
  stream_.Take();
  const bool negated = stream_.SkipName("not");
  ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
  node->builtin = FindTest(name);
  if (node->builtin == nullptr) return stream_.Error("the test '{}' is not supported", name);
  node->operands.push_back(std::move(operand));
  const Token& token = stream_.current();
  if (token.IsOperator("(")) {
    RETURN_IF_ERROR(ParseArguments(&node->arguments));
  } else if (token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
             token.kind == TokenKind::kFloat || token.IsOperator("[") || token.IsOperator("{") ||
             (token.kind == TokenKind::kName && !token.IsName("else") && !token.IsName("or") &&
              !token.IsName("and"))) {
    if (token.IsName("is")) return stream_.Error("tests cannot be chained with 'is'");
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    node->arguments.positional.push_back(std::move(argument));
  }
  if (!negated) return Finish(std::move(node));
  ASSIGN_OR_RETURN(ExpressionPtr test, Finish(std::move(node)));
  Node negation = Make(Type::kNot);
  negation->operands.push_back(std::move(test));
  return Finish(std::move(negation));
}

ExpressionParser::Result ExpressionParser::ParseCall(ExpressionPtr node) {
  RETURN_IF_ERROR(RefuseCall(*node, symbols_, stream_));
  Node call = Make(Type::kCall);
  call->operands.push_back(std::move(node));
  RETURN_IF_ERROR(ParseArguments(&call->arguments));
  return Finish(std::move(call));
}

absl::Status ExpressionParser::ParseArguments(CallArguments* arguments) {
  stream_.Take();
  while (!stream_.current().IsOperator(")")) {
    RETURN_IF_ERROR(ParseArgument(arguments));
    if (!stream_.SkipOperator(",")) break;
  }
  return stream_.ExpectOperator(")");
}

absl::Status ExpressionParser::ParseArgument(CallArguments* arguments) {
  const bool starred = arguments->more_positional != nullptr || arguments->more_keywords != nullptr;
  if (stream_.current().IsOperator("*") || stream_.current().IsOperator("**")) {
    const bool keywords = stream_.Take().text == "**";
    if (keywords ? arguments->more_keywords != nullptr : starred)
      return stream_.Error("a second '*' in a call");
    ASSIGN_OR_RETURN((keywords ? arguments->more_keywords : arguments->more_positional), Parse());
    return absl::OkStatus();
  }
  if (stream_.current().kind == TokenKind::kName && stream_.look().IsOperator("=")) {
    if (arguments->more_keywords != nullptr) return stream_.Error("a keyword behind '**' in a call");
    Value name = TextConstant(stream_.Take().text);
    stream_.Take();
    for (const auto& [other, unused] : arguments->keywords) {
      if (other.bytes() == name.bytes()) return stream_.Error("the keyword '{}' stands twice", name.bytes());
    }
    ASSIGN_OR_RETURN(ExpressionPtr value, Parse());
    arguments->keywords.emplace_back(std::move(name), std::move(value));
    return absl::OkStatus();
  }
  if (starred || !arguments->keywords.empty()) return stream_.Error("an argument behind keywords in a call");
  ASSIGN_OR_RETURN(ExpressionPtr value, Parse());
  arguments->positional.push_back(std::move(value));
  return absl::OkStatus();
}

}  // namespace hydrad::jinja
