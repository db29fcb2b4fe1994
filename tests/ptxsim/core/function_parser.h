// Parses one .entry or .func of a module into decoded instructions.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/module.h"
#include "core/registers.h"
#include "core/statement.h"

namespace ptxsim {

// What the functions of one kernel share while it is built: its constants, its register file, its local
// memory.
struct KernelDraft {
  const Module& module;
  Kernel* kernel;
  std::map<std::pair<uint64_t, int>, Ref> constants;
  std::map<std::tuple<int, int, int>, int> places;  // file, line, column -> index into Kernel::places

  Ref Constant(uint64_t value, int bytes);
  Ref NewRegister(int bytes);
  uint32_t NewLocal(uint32_t bytes, uint32_t align);
};

// A parsed function; `code` still has branch targets relative to itself.
struct FunctionDraft {
  std::vector<Instr> code;
  std::vector<std::string> opcodes;
  std::vector<Effects> effects;          // [code]
  std::vector<Extent> formals, results;  // in local memory, for .func
  Ref return_address{};
  std::vector<std::pair<size_t, std::string>> calls;  // instruction -> callee
};

class FunctionParser : public Builder {
 public:
  // `token` is the position behind ".entry" or ".func".
  FunctionParser(KernelDraft& draft, size_t token, bool entry);
  FunctionDraft Parse();

  Ref Read(const Statement& s, const Operand& operand, int bytes) override;
  Ref Write(const Statement& s, const Operand& operand, int bytes) override;
  void BranchTo(const Statement& s, std::string_view label, Instr* instr) override;
  void BranchTableOf(const Statement& s, std::string_view label, Instr* instr) override;
  void CallOf(const Statement& s, Instr* instr) override;
  bool InFunction() const override { return !entry_; }

 private:
  struct Symbol {
    Space space;
    uint64_t value;
    uint32_t bytes;
  };
  struct Register {
    Ref ref;
    Type type;
  };

  // Tokens
  const Token& Peek(size_t ahead = 0) const { return tokens_[i_ + ahead]; }
  std::string_view Next() { return tokens_[i_++].text; }
  bool Eat(std::string_view text);
  void Want(std::string_view text);
  [[noreturn]] void Fail(const std::string& why) const;

  // Declarations
  void ParseSignature();
  std::vector<Extent> ParseParams();
  void ParseRegisters();
  void ParseVariable(Space space);
  void ParseLoc();
  void ParseBranchTargets(std::string_view label);
  void AddShared(std::string_view name, uint32_t bytes, uint32_t align);

  // Instructions
  void ParseStatement();
  void ParseInstruction();
  void ParseCallOperands(Statement* s);
  Operand ParseOperand();
  Operand ParseAddress();
  bool ParseSymbol(std::string_view name, Operand* operand) const;
  const Register* FindRegister(std::string_view name) const;
  void NoteEffects(const Statement& s, const Instr& instr);
  void ResolveLabels();

  KernelDraft& draft_;
  const std::vector<Token>& tokens_;
  size_t i_;
  const bool entry_;
  FunctionDraft out_;
  std::vector<std::unordered_map<std::string_view, Register>> scopes_;
  std::unordered_map<std::string_view, Symbol> symbols_;
  std::unordered_map<std::string_view, int> labels_;
  std::vector<std::pair<size_t, std::string_view>> branches_;     // instruction -> label
  std::vector<std::pair<size_t, std::string_view>> table_users_;  // instruction -> label of a table
  std::unordered_map<std::string_view, std::vector<std::string_view>> tables_;
  int place_ = 0;
  std::vector<Effects::Use> written_;  // by the instruction being decoded
};

}  // namespace ptxsim
