// One parsed PTX instruction, before it is decoded into an Instr, and what a decoder may ask of its function.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/lexer.h"
#include "core/program.h"

namespace ptxsim {

struct Operand {
  enum Kind { kRegister, kImmediate, kAddress, kVector, kName, kSink };
  Kind kind = kImmediate;
  Type type = Type::kNone;        // kRegister (and the base of kAddress): as declared
  Ref ref{};                      // the same: its place
  bool has_base = false;          // kAddress: [register + value], else [value]
  bool negated = false;           // !%p
  uint64_t value = 0;             // kImmediate: the bits; kAddress: the offset
  Space space = Space::kGeneric;  // of the variable that an address or immediate names
  bool symbolic = false;          // value comes from a variable's name
  std::string_view name;          // kName: a function or label
  std::vector<Operand> parts;     // kVector
};

struct Statement {
  int line = 0;
  std::string_view opcode;             // as written
  std::string_view base;               // up to the first dot
  std::vector<std::string_view> mods;  // the rest, split at dots
  std::vector<Operand> operands;       // "a|b" counts as two
  bool paired = false;                 // the first two were written a|b

  bool Has(std::string_view mod) const { return std::find(mods.begin(), mods.end(), mod) != mods.end(); }
  // The n-th modifier that names a type; kNone if there are fewer.
  Type TypeAt(int n) const {
    for (std::string_view mod : mods) {
      Type type = ParseType(mod);
      if (type != Type::kNone && n-- == 0) return type;
    }
    return Type::kNone;
  }
  [[noreturn]] void Fail(const std::string& why) const {
    throw PtxError(line, std::string(opcode) + ": " + why);
  }
};

// The function under construction, as far as decoders are concerned.
class Builder {
 public:
  virtual ~Builder() = default;
  // The place of an operand of `bytes` per lane (0: a predicate): a register of that width, or an immediate
  // put among the constants. Fails on anything else.
  virtual Ref Read(const Statement& s, const Operand& operand, int bytes) = 0;
  // The same for a destination; "_" gets a place of its own.
  virtual Ref Write(const Statement& s, const Operand& operand, int bytes) = 0;
  // Label -> index into Kernel::code once the function is complete.
  virtual void BranchTo(const Statement& s, std::string_view label, Instr* instr) = 0;
  virtual void BranchTableOf(const Statement& s, std::string_view label, Instr* instr) = 0;
  virtual void CallOf(const Statement& s, Instr* instr) = 0;
  // True inside of a .func: its parameters live in local memory.
  virtual bool InFunction() const = 0;
};

using Decoder = void (*)(const Statement& s, Builder& b, Instr* instr);

// The decoder for an opcode's base name, null if the interpreter does not know it.
Decoder FindDecoder(std::string_view base);

}  // namespace ptxsim
