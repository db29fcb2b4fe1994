#include "server/text/jinja/template_parser.h"

#include <algorithm>
#include <initializer_list>

#include "server/base/status_macros.h"
#include "server/text/jinja/expression_parser.h"
#include "server/text/jinja/hidden_names.h"

namespace hydrad::jinja {
namespace {

using Type = Statement::Type;
using StatementPtr = std::unique_ptr<const Statement>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens)
      : stream_(std::move(tokens)), expressions_(&stream_, &symbols_) {}

  absl::StatusOr<Template> Run();

 private:
  using Names = std::initializer_list<std::string_view>;
  using Result = absl::StatusOr<std::unique_ptr<Statement>>;

  // Statements up to a tag whose name is in `ends`, whose name then is current; up to the end if it is empty.
  absl::StatusOr<Body> ParseBody(Names ends);
  // The same from the end of the tag that opens the body on.
  absl::StatusOr<Body> ParseBlock(Names ends);
  // The same with one closing tag, whose name is taken.
  absl::StatusOr<Body> ParseBlockTo(std::string_view end);
  Result ParseStatement();
  Result ParseFor();
  Result ParseIf();
  Result ParseSet();
  Result ParseWith();
  Result ParseMacro();
  Result ParseCallBlock();
  Result ParseFilterBlock();
  Result ParseGeneration();
  Result ParseLoopControl(Type type);
  absl::Status ParseParameters(Signature* signature);
  // Notes which of a macro's special names are read from read number `from` on.
  void NoteReads(size_t from, Signature* signature);

  std::unique_ptr<Statement> Make(Type type) const {
    auto statement = std::make_unique<Statement>();
    statement->type = type;
    statement->line = stream_.line();
    return statement;
  }
  bool AtAny(Names names) const {
    return std::any_of(names.begin(), names.end(),
                       [&](std::string_view n) { return stream_.current().IsName(n); });
  }

  Symbols symbols_;
  TokenStream stream_;
  ExpressionParser expressions_;
  int loops_ = 0;  // that are open around the current place, within the innermost macro
};

absl::StatusOr<Template> Parser::Run() {
  Template out;
  ASSIGN_OR_RETURN(out.body, ParseBody({}));
  out.loop_symbol = symbols_.Intern("loop");
  out.caller_symbol = symbols_.Intern("caller");
  out.varargs_symbol = symbols_.Intern("varargs");
  out.kwargs_symbol = symbols_.Intern("kwargs");
  out.symbols = std::move(symbols_);
  FindHiddenNames(&out);
  return out;
}

absl::StatusOr<Body> Parser::ParseBody(Names ends) {
  RETURN_IF_ERROR(expressions_.Enter());
  Body body;
  for (;;) {
    const Token& token = stream_.current();
    if (token.kind == TokenKind::kEnd) {
      if (ends.size() > 0) return stream_.Error("expected the tag '{}', not the end", *(ends.end() - 1));
      break;
    }
    if (token.kind == TokenKind::kData) {
      auto text = Make(Type::kText);
      text->text = Text(stream_.Take().text);
      body.push_back(std::move(text));
    } else if (token.kind == TokenKind::kVariableBegin) {
      stream_.Take();
      auto output = Make(Type::kOutput);
      ASSIGN_OR_RETURN(output->expression, expressions_.ParseTuple());
      RETURN_IF_ERROR(stream_.Expect(TokenKind::kVariableEnd, "'}}'"));
      body.push_back(std::move(output));
    } else {
      RETURN_IF_ERROR(stream_.Expect(TokenKind::kBlockBegin, "a tag"));
      if (AtAny(ends)) break;
      ASSIGN_OR_RETURN(auto statement, ParseStatement());
      if (statement != nullptr) body.push_back(std::move(statement));
      RETURN_IF_ERROR(stream_.Expect(TokenKind::kBlockEnd, "'%}'"));
    }
  }
  expressions_.Leave();
  return body;
}

absl::StatusOr<Body> Parser::ParseBlock(Names ends) {
  stream_.SkipOperator(":");
  RETURN_IF_ERROR(stream_.Expect(TokenKind::kBlockEnd, "'%}'"));
  return ParseBody(ends);
}

absl::StatusOr<Body> Parser::ParseBlockTo(std::string_view end) {
  ASSIGN_OR_RETURN(Body body, ParseBlock({end}));
  stream_.Take();
  return body;
}

Parser::Result Parser::ParseStatement() {
  const Token& token = stream_.current();
  if (token.kind != TokenKind::kName)
    return stream_.Error("expected the name of a tag, not {}", Describe(token));
  if (token.text == "for") return ParseFor();
  if (token.text == "if") return ParseIf();
  if (token.text == "set") return ParseSet();
  if (token.text == "with") return ParseWith();
  if (token.text == "macro") return ParseMacro();
  if (token.text == "call") return ParseCallBlock();
  if (token.text == "filter") return ParseFilterBlock();
  if (token.text == "generation") return ParseGeneration();
  if (token.text == "break") return ParseLoopControl(Type::kBreak);
  if (token.text == "continue") return ParseLoopControl(Type::kContinue);
  for (const std::string_view missing :
       {"block", "extends", "print", "include", "from", "import", "autoescape", "do", "trans", "debug"}) {
    if (token.text == missing) return stream_.Error("the tag '{}' is not supported", token.text);
  }
  return stream_.Error("the tag '{}' is unknown here", token.text);
}

Parser::Result Parser::ParseLoopControl(Type type) {
  if (loops_ == 0) return stream_.Error("'{}' stands in no loop", stream_.current().text);
  auto statement = Make(type);
  stream_.Take();
  return statement;
}

Parser::Result Parser::ParseFor() {
  auto loop = Make(Type::kFor);
  stream_.Take();
  ASSIGN_OR_RETURN(loop->target, expressions_.ParseTarget(/*attributes=*/false, "in"));
  if (!stream_.SkipName("in")) return stream_.Error("expected 'in', not {}", Describe(stream_.current()));
  ASSIGN_OR_RETURN(loop->expression, expressions_.ParseTuple(/*with_choice=*/false, "recursive"));
  if (stream_.SkipName("if")) {
    ASSIGN_OR_RETURN(loop->condition, expressions_.Parse());
  }
  loop->recursive = stream_.SkipName("recursive");
  ++loops_;
  ASSIGN_OR_RETURN(loop->body, ParseBlock({"else", "endfor"}));
  --loops_;
  if (stream_.Take().text == "else") {
    ASSIGN_OR_RETURN(loop->otherwise, ParseBlockTo("endfor"));
  }
  return loop;
}

Parser::Result Parser::ParseIf() {
  auto statement = Make(Type::kIf);
  do {
    stream_.Take();
    ASSIGN_OR_RETURN(ExpressionPtr condition, expressions_.ParseTuple(/*with_choice=*/false));
    ASSIGN_OR_RETURN(Body body, ParseBlock({"elif", "else", "endif"}));
    statement->branches.emplace_back(std::move(condition), std::move(body));
  } while (stream_.current().IsName("elif"));
  if (stream_.Take().text == "else") {
    ASSIGN_OR_RETURN(statement->otherwise, ParseBlockTo("endif"));
  }
  return statement;
}

Parser::Result Parser::ParseSet() {
  auto statement = Make(Type::kSet);
  stream_.Take();
  ASSIGN_OR_RETURN(statement->target, expressions_.ParseTarget(/*attributes=*/true));
  if (stream_.SkipOperator("=")) {
    ASSIGN_OR_RETURN(statement->expression, expressions_.ParseTuple());
    return statement;
  }
  statement->type = Type::kSetBlock;
  if (stream_.current().IsOperator("|")) {
    ASSIGN_OR_RETURN(statement->expression, expressions_.ParseFilters(nullptr));
  }
  ASSIGN_OR_RETURN(statement->body, ParseBlockTo("endset"));
  return statement;
}

Parser::Result Parser::ParseWith() {
  auto statement = Make(Type::kWith);
  stream_.Take();
  while (stream_.current().kind != TokenKind::kBlockEnd) {
    if (!statement->bindings.empty()) RETURN_IF_ERROR(stream_.ExpectOperator(","));
    Target target;
    ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
    target.symbol = expressions_.Intern(name);
    RETURN_IF_ERROR(stream_.ExpectOperator("="));
    ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.Parse());
    statement->bindings.emplace_back(std::move(target), std::move(value));
  }
  ASSIGN_OR_RETURN(statement->body, ParseBlockTo("endwith"));
  return statement;
}

absl::Status Parser::ParseParameters(Signature* signature) {
  RETURN_IF_ERROR(stream_.ExpectOperator("("));
  while (!stream_.current().IsOperator(")")) {
    if (!signature->parameters.empty()) RETURN_IF_ERROR(stream_.ExpectOperator(","));
    ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
    const Symbol symbol = expressions_.Intern(name);
    if (std::count(signature->parameters.begin(), signature->parameters.end(), symbol) > 0) {
      return stream_.Error("the parameter '{}' stands twice", name);
    }
    signature->parameters.push_back(symbol);
    if (stream_.SkipOperator("=")) {
      ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.Parse());
      signature->defaults.push_back(std::move(value));
    } else if (!signature->defaults.empty()) {
      return stream_.Error("the parameter '{}' without a default follows one that has one", name);
    }
  }
  stream_.Take();
  return absl::OkStatus();
}

void Parser::NoteReads(size_t from, Signature* signature) {
  const std::vector<Symbol>& reads = expressions_.reads();
  for (size_t i = from; i < reads.size(); ++i) {
    const std::string& name = symbols_.Name(reads[i])->bytes;
    signature->uses_caller |= name == "caller";
    signature->uses_varargs |= name == "varargs";
    signature->uses_kwargs |= name == "kwargs";
  }
}

Parser::Result Parser::ParseMacro() {
  auto macro = Make(Type::kMacro);
  stream_.Take();
  ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
  macro->target.symbol = expressions_.Intern(name);
  const size_t reads = expressions_.reads().size();
  RETURN_IF_ERROR(ParseParameters(&macro->signature));
  const int loops = std::exchange(loops_, 0);
  ASSIGN_OR_RETURN(macro->body, ParseBlockTo("endmacro"));
  loops_ = loops;
  NoteReads(reads, &macro->signature);
  return macro;
}

Parser::Result Parser::ParseCallBlock() {
  auto call = Make(Type::kCallBlock);
  stream_.Take();
  if (stream_.current().IsOperator("(")) RETURN_IF_ERROR(ParseParameters(&call->signature));
  ASSIGN_OR_RETURN(call->expression, expressions_.Parse());
  if (call->expression->type != Expression::Type::kCall) return stream_.Error("'call' needs a call");
  const size_t reads = expressions_.reads().size();
  const int loops = std::exchange(loops_, 0);
  ASSIGN_OR_RETURN(call->body, ParseBlockTo("endcall"));
  loops_ = loops;
  NoteReads(reads, &call->signature);
  return call;
}

Parser::Result Parser::ParseFilterBlock() {
  auto filter = Make(Type::kFilterBlock);
  stream_.Take();
  ASSIGN_OR_RETURN(filter->expression, expressions_.ParseFilters(nullptr, /*inside=*/true));
  ASSIGN_OR_RETURN(filter->body, ParseBlockTo("endfilter"));
  return filter;
}

Parser::Result Parser::ParseGeneration() {
  auto generation = Make(Type::kGeneration);
  stream_.Take();
  const int loops = std::exchange(loops_, 0);
  ASSIGN_OR_RETURN(generation->body, ParseBlockTo("endgeneration"));
  loops_ = loops;
  return generation;
}

}  // namespace

absl::StatusOr<Template> ParseTemplate(std::string_view source) {
  ASSIGN_OR_RETURN(auto tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace hydrad::jinja
