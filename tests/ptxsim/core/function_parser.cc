// Statements and operands. Declarations: declarations.cc.
#include "core/function_parser.h"

#include <cctype>

#include "core/specials.h"

namespace ptxsim {

FunctionParser::FunctionParser(KernelDraft& draft, size_t token, bool entry)
    : draft_(draft), tokens_(draft.module.tokens()), i_(token), entry_(entry), scopes_(1) {}

bool FunctionParser::Eat(std::string_view text) {
  if (Peek().text != text) return false;
  ++i_;
  return true;
}

void FunctionParser::Want(std::string_view text) {
  if (!Eat(text)) Fail("expected '" + std::string(text) + "'");
}

void FunctionParser::Fail(const std::string& why) const {
  throw PtxError(Peek().line, why + " near '" + std::string(Peek().text) + "'");
}

FunctionDraft FunctionParser::Parse() {
  ParseSignature();
  for (int depth = 1; depth > 0;) {
    if (Eat("{")) {
      scopes_.emplace_back();
      ++depth;
    } else if (Eat("}")) {
      if (scopes_.size() > 1) scopes_.pop_back();
      --depth;
    } else {
      ParseStatement();
    }
  }
  Instr end;
  end.kind = Kind::kReturn;
  end.line = Peek().line;
  end.place = place_;
  out_.code.push_back(end);
  out_.opcodes.push_back("ret");
  out_.effects.emplace_back();
  ResolveLabels();
  return std::move(out_);
}

void FunctionParser::ParseStatement() {
  if (i_ + 1 >= tokens_.size()) Fail("the PTX ends within a function");
  std::string_view t = Peek().text;
  if (Eat(";")) return;
  if (t == ".reg") return ++i_, ParseRegisters();
  if (t == ".shared") return ++i_, ParseVariable(Space::kShared);
  if (t == ".local" || t == ".param") return ++i_, ParseVariable(Space::kLocal);
  if (t == ".loc") return ++i_, ParseLoc();
  if (t == ".pragma") {
    while (!Eat(";")) ++i_;
    return;
  }
  if (Peek(1).text == ":") {
    i_ += 2;
    if (Eat(".branchtargets")) return ParseBranchTargets(t);
    if (Peek().text == ".callprototype") Fail("indirect calls are not supported");
    labels_[t] = static_cast<int>(out_.code.size());
    return;
  }
  ParseInstruction();
}

void FunctionParser::ParseInstruction() {
  Instr instr;
  Statement s;
  s.line = Peek().line;
  if (Eat("@")) {
    instr.guarded = true;
    instr.guard_negated = Eat("!");
    const Register* guard = FindRegister(Next());
    if (guard == nullptr || guard->type != Type::kPred) Fail("unknown predicate");
    instr.guard = guard->ref;
  }
  s.opcode = Next();
  for (size_t begin = 0; begin <= s.opcode.size();) {
    size_t end = std::min(s.opcode.find('.', begin), s.opcode.size());
    std::string_view word = s.opcode.substr(begin, end - begin);
    if (begin == 0)
      s.base = word;
    else
      s.mods.push_back(word);
    begin = end + 1;
  }
  Decoder decode = FindDecoder(s.base);
  if (decode == nullptr) s.Fail("unknown instruction");
  if (s.base == "call") ParseCallOperands(&s);
  while (Peek().text != ";") {
    s.operands.push_back(ParseOperand());
    if (Eat("|")) s.operands.push_back(ParseOperand()), s.paired = true;
    if (!Eat(",") && Peek().text != ";") Fail("expected ',' or ';'");
  }
  Want(";");
  instr.line = s.line;
  instr.place = place_;
  out_.opcodes.emplace_back(s.opcode);
  out_.code.push_back(instr);
  Instr decoded = instr;
  written_.clear();
  decode(s, *this, &decoded);
  out_.code.back() = decoded;
  NoteEffects(s, decoded);
}

// Registers that are mentioned and not written are read.
void FunctionParser::NoteEffects(const Statement& s, const Instr& instr) {
  Effects effects;
  effects.writes = written_;
  auto pending = written_;
  auto mention = [&](const Operand& o, const auto& self) -> void {
    for (const Operand& part : o.parts) self(part, self);
    bool names = o.kind == Operand::kRegister || (o.kind == Operand::kAddress && o.has_base);
    if (!names || o.ref.file != kRegisters) return;
    auto it =
        std::find_if(pending.begin(), pending.end(), [&](const auto& u) { return u.offset == o.ref.offset; });
    if (it != pending.end() && o.kind == Operand::kRegister)
      pending.erase(it);
    else
      effects.reads.push_back({o.ref.offset, SizeOf(o.type)});
  };
  for (const Operand& o : s.operands) mention(o, mention);
  if (instr.guarded) effects.reads.push_back({instr.guard.offset, 0});
  out_.effects.push_back(std::move(effects));
}

// call (results), callee, (arguments)  ->  callee, {results}, {arguments}
void FunctionParser::ParseCallOperands(Statement* s) {
  Operand callee, results, arguments;
  callee.kind = Operand::kName;
  results.kind = arguments.kind = Operand::kVector;
  auto list = [&](Operand* into) {
    Want("(");
    while (!Eat(")")) {
      into->parts.push_back(ParseOperand());
      Eat(",");
    }
  };
  if (Peek().text == "(") list(&results), Want(",");
  callee.name = Next();
  if (Eat(",")) list(&arguments);
  s->operands = {callee, results, arguments};
}

const FunctionParser::Register* FunctionParser::FindRegister(std::string_view name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    auto it = scope->find(name);
    if (it != scope->end()) return &it->second;
  }
  static std::unordered_map<std::string, Register> specials;
  Register special;
  if (name[0] != '%' || !FindSpecial(name, &special.ref, &special.type)) return nullptr;
  return &specials.insert_or_assign(std::string(name), special).first->second;
}

bool FunctionParser::ParseSymbol(std::string_view name, Operand* operand) const {
  operand->symbolic = true;
  if (auto it = symbols_.find(name); it != symbols_.end()) {
    operand->value = it->second.value;
    operand->space = it->second.space;
  } else if (draft_.module.IsExternShared(name)) {
    operand->value = kDynamicShared;
    operand->space = Space::kShared;
  } else if (const Module::Variable* variable = draft_.module.FindVariable(name)) {
    operand->value = reinterpret_cast<uint64_t>(variable->address);
    operand->space = variable->space;
  } else {
    return false;
  }
  return true;
}

Operand FunctionParser::ParseAddress() {
  Operand operand;
  operand.kind = Operand::kAddress;
  std::string_view name = Next();
  if (const Register* reg = FindRegister(name)) {
    operand.has_base = true;
    operand.ref = reg->ref;
    operand.type = reg->type;
  } else if (std::isdigit(static_cast<unsigned char>(name[0]))) {
    operand.value = ParseNumber(name);
  } else if (!ParseSymbol(name, &operand)) {
    Fail("unknown address '" + std::string(name) + "'");
  }
  while (Peek().text == "+" || Peek().text == "-") {
    bool negative = Next() == "-";
    if (Eat("-")) negative = !negative;
    uint64_t offset = ParseNumber(Next());
    operand.value += negative ? 0 - offset : offset;
  }
  Want("]");
  return operand;
}

Operand FunctionParser::ParseOperand() {
  Operand operand;
  if (Eat("[")) return ParseAddress();
  if (Eat("{")) {
    operand.kind = Operand::kVector;
    while (!Eat("}")) {
      operand.parts.push_back(ParseOperand());
      Eat(",");
    }
    return operand;
  }
  bool minus = Eat("-");
  operand.negated = Eat("!");
  std::string_view name = Next();
  if (const Register* reg = FindRegister(name)) {
    if (minus) Fail("negated register");
    operand.kind = Operand::kRegister;
    operand.ref = reg->ref;
    operand.type = reg->type;
  } else if (name == "_") {
    operand.kind = Operand::kSink;
  } else if (std::isdigit(static_cast<unsigned char>(name[0]))) {
    operand.value = ParseNumber(name);
    if (minus) operand.value = 0 - operand.value;
  } else if (!ParseSymbol(name, &operand)) {
    operand.kind = Operand::kName;
    operand.name = name;
  }
  if (operand.kind == Operand::kImmediate && Eat("+")) operand.value += ParseNumber(Next());
  return operand;
}

Ref FunctionParser::Read(const Statement& s, const Operand& operand, int bytes) {
  if (operand.kind == Operand::kImmediate) return draft_.Constant(operand.value, bytes);
  if (operand.kind != Operand::kRegister) s.Fail("an operand is neither register nor immediate");
  if (SizeOf(operand.type) != bytes) s.Fail("an operand of the wrong width");
  return operand.ref;
}

Ref FunctionParser::Write(const Statement& s, const Operand& operand, int bytes) {
  if (operand.kind == Operand::kSink) {
    Ref unused = draft_.NewRegister(bytes);
    written_.push_back({unused.offset, bytes});
    return unused;
  }
  if (operand.kind != Operand::kRegister) s.Fail("a destination is no register");
  if (SizeOf(operand.type) != bytes) s.Fail("a destination of the wrong width");
  written_.push_back({operand.ref.offset, bytes});
  return operand.ref;
}

void FunctionParser::BranchTo(const Statement&, std::string_view label, Instr*) {
  branches_.emplace_back(out_.code.size() - 1, label);
}

void FunctionParser::BranchTableOf(const Statement&, std::string_view label, Instr*) {
  table_users_.emplace_back(out_.code.size() - 1, label);
}

void FunctionParser::CallOf(const Statement& s, Instr* instr) {
  CallSite site;  // `from` and `to` of the other side are filled in when the callee is known
  for (const Operand& p : s.operands[1].parts) site.results.push_back({0, static_cast<uint32_t>(p.value), 0});
  for (const Operand& p : s.operands[2].parts) {
    if (!p.symbolic || p.space != Space::kLocal) s.Fail("an argument is no .param variable");
    site.arguments.push_back({static_cast<uint32_t>(p.value), 0, 0});
  }
  instr->kind = Kind::kCall;
  instr->target = static_cast<int32_t>(draft_.kernel->calls.size());
  draft_.kernel->calls.push_back(std::move(site));
  out_.calls.emplace_back(out_.code.size() - 1, std::string(s.operands[0].name));
}

void FunctionParser::ResolveLabels() {
  auto position = [&](std::string_view label) {
    auto it = labels_.find(label);
    if (it == labels_.end()) Fail("no label '" + std::string(label) + "'");
    return it->second;
  };
  for (auto& [at, label] : branches_) out_.code[at].target = position(label);
  for (auto& [at, label] : table_users_) {
    out_.code[at].target = static_cast<int32_t>(draft_.kernel->tables.size());
    auto& table = draft_.kernel->tables.emplace_back();
    for (std::string_view target : tables_[label]) table.push_back(position(target));
  }
}

}  // namespace ptxsim
