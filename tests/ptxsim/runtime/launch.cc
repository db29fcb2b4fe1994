// Registration of fat binaries, as nvcc 13's host code does it, and kernel launches.
#include "runtime/launch.h"

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/findings.h"
#include "core/module.h"
#include "core/options.h"
#include "runtime/error.h"
#include "runtime/injection.h"
#include "runtime/stream.h"

namespace ptxsim {
namespace {

// A fat binary: text is kept, and parsed when one of its kernels or variables is first used.
struct FatBinary {
  std::string ptx;
  std::string problem;
  std::unique_ptr<Module> module;
};

struct Registered {
  FatBinary* binary;
  std::string name;
  HostFunction function;
};

struct Registry {
  std::vector<std::unique_ptr<FatBinary>> binaries;
  std::map<const void*, Registered> functions;
  struct Variable {
    FatBinary* binary;
    std::string name;
  };
  std::map<const void*, Variable> variables;
};

Registry& Get() {  // used by static initialisers, so it cannot be one
  static auto* registry = new Registry;
  return *registry;
}

struct PendingLaunch {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
};
thread_local PendingLaunch pending;

template <class T>
T Load(const unsigned char* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// The PTX for the highest architecture that the simulated device has. Layout: a header {magic, version, u16
// size of the header, u64 size of the rest}, then entries {u16 kind (1: PTX), ..., u32 header size at 4, u64
// payload size at 8, u32 architecture at 28, u64 flags at 40 (bits 12 to 15: compressed)}.
void ReadFatBinary(const unsigned char* data, FatBinary* binary) {
  const unsigned char* entry = data + Load<uint16_t>(data + 6);
  const unsigned char* end = entry + Load<uint64_t>(data + 8);
  uint32_t best = 0;
  while (entry < end) {
    uint16_t kind = Load<uint16_t>(entry);
    uint32_t header = Load<uint32_t>(entry + 4), arch = Load<uint32_t>(entry + 28);
    uint64_t size = Load<uint64_t>(entry + 8);
    if (kind == 1 && arch >= best && arch <= static_cast<uint32_t>(GetOptions().compute_capability)) {
      std::string text(reinterpret_cast<const char*>(entry + header), size);
      if (text.find(".version") == text.npos) {
        binary->problem = "its PTX is compressed: compile with --compress-mode=none";
      } else {
        binary->ptx = std::move(text);
        best = arch;
      }
    }
    entry += header + size;
  }
  if (binary->ptx.empty() && binary->problem.empty()) {
    binary->problem =
        "no PTX for this device: compile with -gencode arch=compute_80,code=compute_80 or the like";
  }
}

Module* ModuleOf(FatBinary* binary) {
  if (binary->module == nullptr && binary->problem.empty()) {
    try {
      binary->module = std::make_unique<Module>(std::move(binary->ptx));
    } catch (const PtxError& e) {
      binary->problem = e.what();
    }
  }
  return binary->module.get();
}

}  // namespace

HostFunction* FindFunction(const void* function) {
  auto it = Get().functions.find(function);
  if (it == Get().functions.end()) {
    Misuse(cudaErrorInvalidDeviceFunction, "launch of something that is no kernel");
    return nullptr;
  }
  Registered& r = it->second;
  if (r.function.kernel != nullptr) return &r.function;
  Module* module = ModuleOf(r.binary);
  try {
    if (module != nullptr) r.function.kernel = module->FindKernel(r.name);
    if (r.function.kernel != nullptr) return &r.function;
    Misuse(cudaErrorInvalidPtx,
           r.name + ": " + (module == nullptr ? r.binary->problem : "not in its module"));
  } catch (const PtxError& e) {
    Misuse(cudaErrorInvalidPtx, r.name + ": " + e.what());
  }
  SetSticky(cudaErrorInvalidPtx);
  return nullptr;
}

cudaError_t MakeCall(const void* function, dim3 grid, dim3 block, void** arguments, size_t dynamic_shared,
                     KernelCall* call) {
  HostFunction* f = FindFunction(function);
  if (f == nullptr) return cudaPeekAtLastError();
  const Kernel& k = *f->kernel;
  auto wrong = [&](const std::string& what) {
    return Misuse(cudaErrorInvalidConfiguration, "launch of " + k.demangled + ": " + what);
  };
  uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64)
    return wrong("a block of " + std::to_string(threads) + " threads");
  if (threads > k.max_threads) return wrong("a block larger than __launch_bounds__ says");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return wrong("a grid of " + std::to_string(grid.x) + "x" + std::to_string(grid.y) + "x" +
                 std::to_string(grid.z));
  }
  if (k.static_shared > 48 * 1024) return wrong("more than 48 KiB of static shared memory");
  if (dynamic_shared + k.static_shared > static_cast<size_t>(std::max(f->max_dynamic_shared, 48 * 1024))) {
    return wrong("it asks for " + std::to_string(dynamic_shared) +
                 " bytes of dynamic shared memory, more than "
                 "cudaFuncSetAttribute has allowed");
  }
  call->function = function;
  call->kernel = &k;
  call->grid = {grid.x, grid.y, grid.z};
  call->block = {block.x, block.y, block.z};
  call->dynamic_shared = static_cast<uint32_t>(dynamic_shared);
  call->params.resize(k.param_bytes + 16);
  for (size_t n = 0; n < k.params.size(); ++n) {
    std::memcpy(&call->params[k.params[n].offset], arguments[n], k.params[n].bytes);
  }
  return cudaSuccess;
}

void RunKernel(const KernelCall& call) {
  const Options& options = GetOptions();
  Launch launch;
  launch.kernel = call.kernel;
  launch.grid = call.grid;
  launch.block = call.block;
  launch.dynamic_shared = call.dynamic_shared;
  launch.params = call.params;
  launch.checks = options.checks;
  launch.counting = options.count;
  launch.schedule = options.schedule;
  if (!Run(launch)) SetSticky(cudaErrorLaunchFailure);
}

namespace {

cudaError_t Submit(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                   cudaStream_t stream) {
  RuntimeLock lock;
  auto call = std::make_shared<KernelCall>();
  if (cudaError_t e = MakeCall(function, grid, block, arguments, shared, call.get()); e != cudaSuccess)
    return e;
  return Enqueue(stream, cudaGraphNodeTypeKernel, nullptr, std::move(call));
}

}  // namespace
}  // namespace ptxsim

using namespace ptxsim;

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  struct Wrapper {
    int magic, version;
    const unsigned char* data;
    void* more;
  };
  FatBinary* binary = Get().binaries.emplace_back(std::make_unique<FatBinary>()).get();
  ReadFatBinary(static_cast<const Wrapper*>(wrapper)->data, binary);
  return reinterpret_cast<void**>(binary);
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void** binary, const char* host, char*, const char* name, int, void*, void*,
                            void*, void*, int*) {
  Get().functions[host] = {reinterpret_cast<FatBinary*>(binary), name, {}};
}

void __cudaRegisterVar(void** binary, char* host, char*, const char* name, int, size_t, int, int) {
  Get().variables[host] = {reinterpret_cast<FatBinary*>(binary), name};
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
  pending = {grid, block, shared, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = pending.grid;
  *block = pending.block;
  *shared = pending.shared;
  *static_cast<cudaStream_t*>(stream) = pending.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                               cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return Submit(kernel, grid, block, arguments, shared, stream);
}

}  // extern "C"

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return Submit(function, grid, block, arguments, shared, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  for (unsigned n = 0; n < config->numAttrs; ++n) {
    const cudaLaunchAttribute& a = config->attrs[n];
    bool cooperative = a.id == cudaLaunchAttributeCooperative && a.val.cooperative != 0;
    bool cluster = a.id == cudaLaunchAttributeClusterDimension &&
                   a.val.clusterDim.x * a.val.clusterDim.y * a.val.clusterDim.z > 1;
    if (cooperative || cluster) {
      return Misuse(cudaErrorNotSupported, cooperative ? "cooperative launches are not simulated"
                                                       : "thread block clusters are not simulated");
    }
  }
  return Submit(function, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes,
                config->stream);
}

cudaError_t cudaLaunchCooperativeKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return Misuse(cudaErrorNotSupported, "cooperative launches are not simulated");
}

cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  auto it = Get().variables.find(symbol);
  Module* module = it == Get().variables.end() ? nullptr : ModuleOf(it->second.binary);
  const Module::Variable* variable = module == nullptr ? nullptr : module->FindVariable(it->second.name);
  if (variable == nullptr)
    return Misuse(cudaErrorInvalidSymbol, "use of a symbol that is no device variable");
  *address = variable->address;
  return cudaSuccess;
}

cudaError_t cudaGetSymbolSize(size_t* size, const void* symbol) {
  RuntimeLock lock;
  void* address;
  if (cudaError_t e = cudaGetSymbolAddress(&address, symbol); e != cudaSuccess) return e;
  auto& r = Get().variables[symbol];
  *size = r.binary->module->FindVariable(r.name)->bytes;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  HostFunction* f = FindFunction(function);
  if (f == nullptr) return cudaPeekAtLastError();
  *attributes = {};
  attributes->sharedSizeBytes = f->kernel->static_shared;
  attributes->localSizeBytes = f->kernel->local_bytes;
  attributes->maxThreadsPerBlock = static_cast<int>(f->kernel->max_threads);
  attributes->numRegs = 0;  // a matter of ptxas, which did not run
  attributes->ptxVersion = attributes->binaryVersion = GetOptions().compute_capability;
  attributes->maxDynamicSharedSizeBytes = f->max_dynamic_shared;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  HostFunction* f = FindFunction(function);
  if (f == nullptr) return cudaPeekAtLastError();
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value + static_cast<int>(f->kernel->static_shared) > kMaxSharedPerBlock) {
    return Misuse(cudaErrorInvalidValue, "more than 227 KiB of shared memory per block");
  }
  f->max_dynamic_shared = value;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* function,
                                                                   int threads, size_t dynamic_shared,
                                                                   unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  HostFunction* f = FindFunction(function);
  if (f == nullptr) return cudaPeekAtLastError();
  if (threads <= 0 || threads > static_cast<int>(f->kernel->max_threads)) return Fail(cudaErrorInvalidValue);
  size_t shared = f->kernel->static_shared + dynamic_shared + 1024;  // what the system takes per block
  *blocks = static_cast<int>(
      std::min<size_t>({32, 2048 / static_cast<size_t>(threads), size_t{228} * 1024 / shared}));
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads,
                                                          size_t dynamic_shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic_shared, 0);
}
