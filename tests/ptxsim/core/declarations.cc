// The parser of a function, where it declares something: parameters, registers, variables, places of the
// source.
#include <algorithm>

#include "core/function_parser.h"

namespace ptxsim {

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

}  // namespace ptxsim
