// The PTX of one fat binary: its variables, and its kernels, which are built when they are first asked for.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/lexer.h"
#include "core/program.h"

namespace ptxsim {

class Module {
 public:
  // A __device__ or __constant__ variable: an allocation in the simulated device's memory.
  struct Variable {
    void* address;
    size_t bytes;
    Space space;
  };
  struct Function {
    size_t token;  // of its name
    bool entry;
  };

  // Throws PtxError if the module's outline cannot be read.
  explicit Module(std::string text);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // Null if there is no such kernel. Throws PtxError on what the interpreter does not understand.
  const Kernel* FindKernel(const std::string& name);
  const Variable* FindVariable(std::string_view name) const;
  std::vector<std::string> KernelNames() const;

  // For the function parser.
  const std::vector<Token>& tokens() const { return tokens_; }
  const Function* FindFunction(std::string_view name) const;
  bool IsExternShared(std::string_view name) const;
  const std::string& FileName(int index) const;

 private:
  void Outline();
  size_t SkipStatement(size_t i) const;
  size_t SkipFunction(size_t i) const;
  size_t AddFunction(size_t i, bool entry);
  size_t AddVariable(size_t i, Space space);
  size_t AddFile(size_t i);

  const std::string text_;
  std::vector<Token> tokens_;
  std::map<std::string_view, Function> functions_;
  std::map<std::string_view, Variable> variables_;
  std::vector<std::string_view> extern_shared_;
  std::map<int, std::string> files_;
  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
};

// Where dynamic shared memory begins: the value of an `extern __shared__` array's name. Static variables lie
// below, apart from each other by red zones; nothing may be touched below kSharedBase.
inline constexpr uint32_t kSharedBase = 1024;
inline constexpr uint32_t kRedZone = 128;
inline constexpr uint32_t kDynamicShared = 0x10000;

// Parses a decimal, hexadecimal, 0f... or 0d... literal.
uint64_t ParseNumber(std::string_view text);

// Builds `name` and the functions it calls. Defined in function_parser.cc.
std::unique_ptr<Kernel> BuildKernel(const Module& module, const std::string& name);

}  // namespace ptxsim
