// Allocation and copies, with CUDA's rules for pinned and pageable host memory:
// - a copy from pageable memory reads it before the call returns; one to pageable memory has happened when
//   the call returns;
// - pinned memory is read and written when the copy's turn comes, which here is as late as possible: a
//   program that reuses the buffer too early sees it.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include <cuda_runtime_api.h>

#include "core/findings.h"
#include "core/options.h"
#include "core/simulated_memory.h"
#include "runtime/error.h"
#include "runtime/injection.h"
#include "runtime/stream.h"

namespace ptxsim {
namespace {

std::map<const char*, size_t>& Registered() {  // by cudaHostRegister
  static auto* map = new std::map<const char*, size_t>;
  return *map;
}

bool IsPinned(const void* p, size_t bytes) {
  DeviceMemory::Allocation a;
  if (DeviceMemory::Get().Find(p, bytes, &a)) return a.kind == MemoryKind::kPinned;
  auto it = Registered().upper_bound(static_cast<const char*>(p));
  if (it == Registered().begin()) return false;
  --it;
  return static_cast<const char*>(p) + bytes <= it->first + it->second;
}

bool IsDevice(const void* p, size_t bytes) { return DeviceMemory::Get().IsDevice(p, bytes); }
bool InDevice(const void* p) { return DeviceMemory::Get().Inside(reinterpret_cast<uint64_t>(p)); }

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  bool to_device, from_device;
};

// What the kind says about the two sides; with cudaMemcpyDefault their addresses do.
Copy MakeCopy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return {to, from, bytes, IsDevice(to, 1), IsDevice(from, 1)};
  return {to, from, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
          kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice};
}

cudaError_t Check(const Copy& c) {
  auto wrong = [&](const char* side, const void* p) {
    return Misuse(cudaErrorInvalidValue, std::string("copy of ") + std::to_string(c.bytes) + " bytes: its " +
                                             side + " is not (wholly) what the kind of copy says, at " +
                                             DescribeAddress(reinterpret_cast<uint64_t>(p)));
  };
  if (c.to_device ? !IsDevice(c.to, c.bytes) : InDevice(c.to) && !IsPinned(c.to, c.bytes)) {
    return wrong("destination", c.to);
  }
  if (c.from_device ? !IsDevice(c.from, c.bytes) : InDevice(c.from) && !IsPinned(c.from, c.bytes)) {
    return wrong("source", c.from);
  }
  return cudaSuccess;
}

void Perform(const Copy& c) {
  if (Check(c) != cudaSuccess) return SetSticky(cudaErrorInvalidValue);  // freed since the call
  std::memmove(c.to, c.from, c.bytes);
  if (!c.to_device) return;
  if (c.from_device)
    DeviceMemory::Get().CopyWritten(c.to, c.from, c.bytes);
  else
    DeviceMemory::Get().MarkWritten(c.to, c.bytes);
}

cudaError_t CopyAsync(const Copy& copy, cudaStream_t handle) {
  if (copy.bytes == 0) return cudaSuccess;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (cudaError_t e = Check(copy); e != cudaSuccess) return e;
  bool captured = stream->capture != nullptr;
  if (!captured && !copy.from_device && !IsPinned(copy.from, copy.bytes)) {  // staged
    const char* from = static_cast<const char*>(copy.from);
    auto staged = std::make_shared<std::vector<char>>(from, from + copy.bytes);
    return Enqueue(handle, cudaGraphNodeTypeMemcpy, [to = copy, staged] {
      Perform({to.to, staged->data(), to.bytes, to.to_device, false});
    });
  }
  cudaError_t e = Enqueue(handle, cudaGraphNodeTypeMemcpy, [copy] { Perform(copy); });
  if (e == cudaSuccess && !captured && !copy.to_device && !IsPinned(copy.to, copy.bytes)) Drain(stream);
  return e;
}

// As CUDA says ("API synchronization behavior"): of pageable memory a call has been read when it returns, and
// the bytes may still be on their way, on the null stream; a copy within the device may not even have begun.
cudaError_t CopyNow(const Copy& copy, const char* call) {
  if (cudaError_t e = ForbidInCapture(call); e != cudaSuccess) return e;
  Drain(Find(nullptr));
  if (cudaError_t e = CopyAsync(copy, nullptr); e != cudaSuccess) return e;
  if (!copy.to_device || (!copy.from_device && IsPinned(copy.from, copy.bytes))) Drain(Find(nullptr));
  return Sticky();
}

cudaError_t Copy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                   size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) return Fail(cudaErrorInvalidValue);
  for (size_t row = 0; row < height; ++row) {
    Copy copy = MakeCopy(static_cast<char*>(to) + row * to_pitch,
                         static_cast<const char*>(from) + row * from_pitch, width, kind);
    if (cudaError_t e = CopyAsync(copy, stream); e != cudaSuccess) return e;
  }
  return cudaSuccess;
}

cudaError_t SetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!IsDevice(p, bytes)) return Misuse(cudaErrorInvalidValue, "memset outside of device memory");
  return Enqueue(stream, cudaGraphNodeTypeMemset, [p, value, bytes] {
    if (!IsDevice(p, bytes)) {
      AddFinding("memset of device memory that has been freed");
      return SetSticky(cudaErrorInvalidValue);
    }
    std::memset(p, value, bytes);
    DeviceMemory::Get().MarkWritten(p, bytes);
  });
}

// The part of a symbol that a copy names; null if it does not fit.
char* SymbolPart(const void* symbol, size_t bytes, size_t offset) {
  void* address;
  size_t size;
  if (cudaGetSymbolAddress(&address, symbol) != cudaSuccess) return nullptr;
  cudaGetSymbolSize(&size, symbol);
  if (offset + bytes <= size) return static_cast<char*>(address) + offset;
  Misuse(cudaErrorInvalidValue, "copy past the end of a symbol");
  return nullptr;
}

}  // namespace
}  // namespace ptxsim

using namespace ptxsim;

cudaError_t cudaMalloc(void** p, size_t bytes) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (cudaError_t e = ForbidInCapture("cudaMalloc"); e != cudaSuccess) return e;
  *p = bytes == 0 ? nullptr : DeviceMemory::Get().Allocate(bytes, MemoryKind::kDevice);
  return *p != nullptr || bytes == 0 ? cudaSuccess : Fail(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* p) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  if (cudaError_t e = ForbidInCapture("cudaFree"); e != cudaSuccess) return e;
  DrainAll();
  DeviceMemory::Allocation a;
  if (p == nullptr) return injected != cudaSuccess ? injected : Sticky();
  if (!DeviceMemory::Get().Find(p, 0, &a) || a.kind != MemoryKind::kDevice || !DeviceMemory::Get().Free(p)) {
    return Misuse(cudaErrorInvalidValue,
                  "cudaFree of a pointer that cudaMalloc did not return or that is free already");
  }
  return injected != cudaSuccess ? injected : Sticky();
}

cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (Find(stream) == nullptr) return cudaErrorInvalidResourceHandle;
  if (Find(stream)->capture != nullptr)
    return Misuse(cudaErrorNotSupported, "allocation nodes are not simulated");
  *p = bytes == 0 ? nullptr : DeviceMemory::Get().Allocate(bytes, MemoryKind::kDevice);
  return *p != nullptr || bytes == 0 ? cudaSuccess : Fail(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  const cudaError_t queued = Enqueue(stream, cudaGraphNodeTypeMemFree, [p] {
    if (p != nullptr && !DeviceMemory::Get().Free(p))
      AddFinding("cudaFreeAsync of a pointer that is no allocation");
  });
  return injected != cudaSuccess ? injected : queued;
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (cudaError_t e = ForbidInCapture("cudaHostAlloc"); e != cudaSuccess) return e;
  *p = DeviceMemory::Get().Allocate(std::max<size_t>(bytes, 1), MemoryKind::kPinned);
  return *p != nullptr ? cudaSuccess : Fail(cudaErrorMemoryAllocation);
}
cudaError_t cudaMallocHost(void** p, size_t bytes) { return cudaHostAlloc(p, bytes, 0); }

cudaError_t cudaFreeHost(void* p) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  DrainAll();
  DeviceMemory::Allocation a;
  if (p == nullptr) return injected != cudaSuccess ? injected : Sticky();
  if (!DeviceMemory::Get().Find(p, 0, &a) || a.kind != MemoryKind::kPinned || !DeviceMemory::Get().Free(p)) {
    return Misuse(cudaErrorInvalidValue, "cudaFreeHost of a pointer that cudaHostAlloc did not return");
  }
  return injected != cudaSuccess ? injected : Sticky();
}

cudaError_t cudaHostRegister(void* p, size_t bytes, unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Registered()[static_cast<char*>(p)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* p) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  DrainAll();
  return Registered().erase(static_cast<char*>(p)) != 0 ? injected : Fail(cudaErrorInvalidValue);
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (!InDevice(host) || !IsPinned(host, 1)) return Fail(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  *attributes = {};
  DeviceMemory::Allocation a;
  bool known = DeviceMemory::Get().Find(p, 1, &a), pinned = IsPinned(p, 1);
  attributes->type = pinned ? cudaMemoryTypeHost : known ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  attributes->devicePointer = known ? const_cast<void*>(p) : nullptr;
  attributes->hostPointer = pinned ? const_cast<void*>(p) : nullptr;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  *total = GetOptions().device_bytes;
  *free = *total - std::min<size_t>(*total, DeviceMemory::Get().used());
  return Sticky();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return CopyAsync(MakeCopy(to, from, bytes, kind), stream);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return CopyNow(MakeCopy(to, from, bytes, kind), "cudaMemcpy");
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return Copy2D(to, to_pitch, from, from_pitch, width, height, kind, stream);
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                         size_t height, cudaMemcpyKind kind) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (cudaError_t e = ForbidInCapture("cudaMemcpy2D"); e != cudaSuccess) return e;
  cudaError_t e = Copy2D(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
  if (e == cudaSuccess) Drain(Find(nullptr));
  return e != cudaSuccess ? e : Sticky();
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return SetAsync(p, value, bytes, stream);
}

cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (cudaError_t e = ForbidInCapture("cudaMemset"); e != cudaSuccess) return e;
  return SetAsync(p, value, bytes, nullptr);
}

cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t bytes, size_t offset,
                               cudaMemcpyKind kind) {
  RuntimeLock lock;
  char* to = SymbolPart(symbol, bytes, offset);
  return to == nullptr ? cudaPeekAtLastError()
                       : CopyNow(MakeCopy(to, from, bytes, kind), "cudaMemcpyToSymbol");
}

cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, size_t bytes, size_t offset,
                                    cudaMemcpyKind kind, cudaStream_t stream) {
  RuntimeLock lock;
  char* to = SymbolPart(symbol, bytes, offset);
  return to == nullptr ? cudaPeekAtLastError() : CopyAsync(MakeCopy(to, from, bytes, kind), stream);
}

cudaError_t cudaMemcpyFromSymbol(void* to, const void* symbol, size_t bytes, size_t offset,
                                 cudaMemcpyKind kind) {
  RuntimeLock lock;
  char* from = SymbolPart(symbol, bytes, offset);
  return from == nullptr ? cudaPeekAtLastError()
                         : CopyNow(MakeCopy(to, from, bytes, kind), "cudaMemcpyFromSymbol");
}

cudaError_t cudaMemcpyFromSymbolAsync(void* to, const void* symbol, size_t bytes, size_t offset,
                                      cudaMemcpyKind kind, cudaStream_t stream) {
  RuntimeLock lock;
  char* from = SymbolPart(symbol, bytes, offset);
  return from == nullptr ? cudaPeekAtLastError() : CopyAsync(MakeCopy(to, from, bytes, kind), stream);
}
