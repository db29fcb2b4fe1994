// A kernel out of its functions.
#include <algorithm>
#include <cstring>

#include "core/function_parser.h"

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
