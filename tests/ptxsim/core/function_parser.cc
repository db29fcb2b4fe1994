#include "core/function_parser.h"

#include <cctype>
#include <cstring>

#include "core/specials.h"

namespace ptxsim {

Ref KernelDraft::Constant(uint64_t value, int bytes) {
  auto [it, fresh] = constants.try_emplace({value, bytes});
  if (fresh) {
    size_t at = (kernel->constants.size() + 63) & ~size_t{63};
    it->second = {static_cast<uint32_t>(at), kConstants};
    kernel->constants.resize(at + kWarpSize * std::max(bytes, 1));
    if (bytes == 0) value = value != 0 ? ~0ull : 0, bytes = 1;  // a predicate: 32 equal bits
    for (int lane = 0; lane < kWarpSize; ++lane) {
      std::memcpy(&kernel->constants[at + static_cast<size_t>(lane) * bytes], &value, std::min(bytes, 8));
    }
  }
  return it->second;
}

Ref KernelDraft::NewRegister(int bytes) {
  uint32_t align = bytes == 0 ? 4 : 64, at = (kernel->register_bytes + align - 1) / align * align;
  kernel->register_bytes = at + (bytes == 0 ? 4 : kWarpSize * bytes);
  return {at, kRegisters};
}

uint32_t KernelDraft::NewLocal(uint32_t bytes, uint32_t align) {
  uint32_t at = (kernel->local_bytes + align - 1) / align * align;
  kernel->local_bytes = at + bytes;
  return at;
}

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

void FunctionParser::ParseSignature() {
  if (!entry_ && Peek().text == "(") out_.results = ParseParams();
  Next();  // the name
  if (Peek().text == "(") out_.formals = ParseParams();
  while (Peek().text != "{") {
    if (Next() == ".maxntid") {
      uint64_t threads = 1;
      do threads *= ParseNumber(Next());
      while (Eat(","));
      draft_.kernel->max_threads = static_cast<uint32_t>(threads);
    }
  }
  Want("{");
  if (!entry_) out_.return_address = draft_.NewRegister(4);
}

std::vector<Extent> FunctionParser::ParseParams() {
  std::vector<Extent> extents;
  Want("(");
  while (!Eat(")")) {
    Eat(",");
    Want(".param");
    uint32_t align = 1, elements = 1;
    Type type = Type::kNone;
    while (Peek().text[0] == '.') {
      std::string_view word = Next();
      if (word == ".align") align = std::max(align, static_cast<uint32_t>(ParseNumber(Next())));
      if (Type t = ParseType(word.substr(1)); t != Type::kNone) type = t;
    }
    std::string_view name = Next();
    if (Eat("[")) elements = static_cast<uint32_t>(ParseNumber(Next())), Want("]");
    uint32_t width = static_cast<uint32_t>(SizeOf(type)), bytes = width * elements;
    align = std::max(align, width);
    uint32_t at;
    if (entry_) {
      at = (draft_.kernel->param_bytes + align - 1) / align * align;
      draft_.kernel->param_bytes = at + bytes;
      draft_.kernel->params.push_back({at, bytes});
    } else {
      at = draft_.NewLocal(bytes, align);
    }
    symbols_[name] = {entry_ ? Space::kParam : Space::kLocal, at, bytes};
    extents.push_back({at, bytes});
  }
  return extents;
}

void FunctionParser::ParseRegisters() {
  Type type = ParseType(Next().substr(1));
  if (type == Type::kNone) Fail("unknown register type");
  do {
    std::string_view name = Next();
    if (!Eat("<")) {
      scopes_.back()[name] = {draft_.NewRegister(SizeOf(type)), type};
      continue;
    }
    uint64_t count = ParseNumber(Next());
    Want(">");
    static std::deque<std::string> names;  // keeps the made-up names alive
    static std::unordered_map<std::string, std::string_view> known;
    for (uint64_t n = 0; n < count; ++n) {
      std::string made = std::string(name) + std::to_string(n);
      auto [it, fresh] = known.try_emplace(made);
      if (fresh) it->second = names.emplace_back(made);
      scopes_.back()[it->second] = {draft_.NewRegister(SizeOf(type)), type};
    }
  } while (Eat(","));
  Want(";");
}

void FunctionParser::AddShared(std::string_view name, uint32_t bytes, uint32_t align) {
  Kernel& k = *draft_.kernel;
  align = std::max(align, kRedZone);
  uint32_t at = (k.shared_end + align - 1) / align * align;
  if (at + bytes > kDynamicShared) Fail("more static shared memory than there is");
  k.shared_vars.push_back({at, bytes});
  k.shared_end = at + bytes + kRedZone;
  k.static_shared += (bytes + 15) / 16 * 16;
  symbols_[name] = {Space::kShared, at, bytes};
}

void FunctionParser::ParseVariable(Space space) {
  uint32_t align = 1, elements = 1;
  Type type = Type::kNone;
  while (Peek().text[0] == '.') {
    std::string_view word = Next();
    if (word == ".align")
      align = static_cast<uint32_t>(ParseNumber(Next()));
    else if (Type t = ParseType(word.substr(1)); t != Type::kNone)
      type = t;
  }
  do {
    std::string_view name = Next();
    uint32_t count = elements;
    while (Eat("[")) count *= static_cast<uint32_t>(ParseNumber(Next())), Want("]");
    uint32_t width = static_cast<uint32_t>(SizeOf(type)), bytes = width * count;
    align = std::max(align, width);
    if (space == Space::kShared) {
      AddShared(name, bytes, align);
    } else {  // .local, and the .param of a call
      symbols_[name] = {Space::kLocal, draft_.NewLocal(bytes, align), bytes};
    }
  } while (Eat(","));
  Want(";");
}

// .loc file line column [, function_name label, inlined_at file line column]
void FunctionParser::ParseLoc() {
  const int text_line = Peek().line;
  auto number = [&](size_t ahead) { return static_cast<int>(ParseNumber(Peek(ahead).text)); };
  std::tuple here{number(0), number(1), number(2)};
  Place place{draft_.module.FileName(number(0)), number(1), "", 0};
  for (i_ += 3; Peek().line == text_line && i_ + 1 < tokens_.size(); ++i_) {
    if (Peek().text != "inlined_at") continue;
    auto outer = draft_.places.find(std::tuple{number(1), number(2), number(3)});
    place.outer_file = draft_.module.FileName(number(1));
    place.outer_line = number(2);
    if (outer != draft_.places.end() && draft_.kernel->places[outer->second].outer_line != 0) {
      place.outer_file = draft_.kernel->places[outer->second].outer_file;
      place.outer_line = draft_.kernel->places[outer->second].outer_line;
    }
  }
  place_ = static_cast<int>(draft_.kernel->places.size());
  draft_.places[here] = place_;
  draft_.kernel->places.push_back(std::move(place));
}

void FunctionParser::ParseBranchTargets(std::string_view label) {
  do tables_[label].push_back(Next());
  while (Eat(","));
  Want(";");
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

namespace {

// Parses `name` and what it calls, callees first: lanes inside of a function then have the lower addresses,
// so the scheduler brings them back before their siblings go on.
class KernelLinker {
 public:
  explicit KernelLinker(KernelDraft& draft) : draft_(draft) {}

  const FunctionDraft& Link(const std::string& name, int line) {
    const Module::Function* function = draft_.module.FindFunction(name);
    if (function == nullptr) throw PtxError(line, "call of the unknown function " + name);
    State& state = states_[name];
    if (state.begun && state.entry < 0) throw PtxError(line, name + " is recursive, which is not supported");
    if (state.begun) return state.function;
    state.begun = true;
    Kernel& k = *draft_.kernel;
    size_t first_table = k.tables.size();
    state.function = FunctionParser(draft_, function->token, function->entry).Parse();
    size_t own_tables = k.tables.size();
    for (auto& [at, callee] : state.function.calls) {
      const FunctionDraft& target = Link(callee, state.function.code[at].line);
      Connect(&k.calls[state.function.code[at].target], target, states_[callee].entry,
              state.function.code[at].line);
    }
    state.entry = static_cast<int>(k.code.size());
    for (Instr& instr : state.function.code) {
      if (instr.kind == Kind::kBranch) instr.target += state.entry;
      if (instr.kind == Kind::kReturn && !function->entry)
        instr.r[0] = state.function.return_address, instr.sub = 1;
    }
    for (size_t t = first_table; t < own_tables; ++t) {
      for (int32_t& target : k.tables[t]) target += state.entry;
    }
    k.code.insert(k.code.end(), state.function.code.begin(), state.function.code.end());
    effects_.insert(effects_.end(), state.function.effects.begin(), state.function.effects.end());
    k.opcodes.insert(k.opcodes.end(), state.function.opcodes.begin(), state.function.opcodes.end());
    if (function->entry) k.entry = state.entry;
    return state.function;
  }

  const std::vector<Effects>& effects() const { return effects_; }

 private:
  struct State {
    bool begun = false;
    int entry = -1;
    FunctionDraft function;
  };

  static void Connect(CallSite* site, const FunctionDraft& callee, int entry, int line) {
    if (site->arguments.size() != callee.formals.size() || site->results.size() > callee.results.size()) {
      throw PtxError(line, "call with the wrong number of arguments");
    }
    for (size_t n = 0; n < site->arguments.size(); ++n) {
      site->arguments[n].to = callee.formals[n].offset;
      site->arguments[n].bytes = callee.formals[n].bytes;
    }
    for (size_t n = 0; n < site->results.size(); ++n) {
      site->results[n].from = callee.results[n].offset;
      site->results[n].bytes = callee.results[n].bytes;
    }
    site->entry = entry;
    site->return_address = callee.return_address;
  }

  KernelDraft& draft_;
  std::map<std::string, State> states_;
  std::vector<Effects> effects_;
};

}  // namespace

std::unique_ptr<Kernel> BuildKernel(const Module& module, const std::string& name) {
  auto kernel = std::make_unique<Kernel>();
  kernel->name = name;
  kernel->shared_end = kSharedBase;
  kernel->places.emplace_back();
  KernelDraft draft{module, kernel.get(), {}, {}};
  KernelLinker linker(draft);
  linker.Link(name, 0);
  CompactRegisters(kernel.get(), linker.effects());
  kernel->constants.resize(kernel->constants.size() + 256);
  return kernel;
}

}  // namespace ptxsim
