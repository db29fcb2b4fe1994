// The one device: what it says of itself. Its size is Options::multiprocessors; limits are those of an H100.
#include <cstring>

#include <cuda_runtime_api.h>

#include "core/options.h"
#include "runtime/error.h"
#include "runtime/injection.h"
#include "runtime/launch.h"
#include "runtime/stream.h"

using namespace ptxsim;

namespace {

cudaError_t OnlyDevice(int device) { return device == 0 ? cudaSuccess : Fail(cudaErrorInvalidDevice); }

int Major() { return GetOptions().compute_capability / 10; }
int Minor() { return GetOptions().compute_capability % 10; }

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return OnlyDevice(device);
}
cudaError_t cudaGetDevice(int* device) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaInitDevice(int device, unsigned, unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return OnlyDevice(device);
}
cudaError_t cudaSetDeviceFlags(unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return cudaSuccess;
}
cudaError_t cudaDeviceReset() { return cudaDeviceSynchronize(); }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  *p = {};
  std::strcpy(p->name, "ptxsim");
  std::memcpy(p->uuid.bytes, "ptxsim device 0", 16);
  p->totalGlobalMem = GetOptions().device_bytes;
  p->sharedMemPerBlock = 48 * 1024;
  p->sharedMemPerBlockOptin = kMaxSharedPerBlock;
  p->sharedMemPerMultiprocessor = 228 * 1024;
  p->reservedSharedMemPerBlock = 1024;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = kWarpSize;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 0x7fffffff;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 64 * 1024;
  p->major = Major();
  p->minor = Minor();
  p->multiProcessorCount = GetOptions().multiprocessors;
  p->l2CacheSize = 50 << 20;
  p->memoryBusWidth = 5120;
  p->unifiedAddressing = 1;
  p->canMapHostMemory = 1;
  p->concurrentKernels = 1;
  p->asyncEngineCount = 2;
  p->streamPrioritiesSupported = 1;
  p->memoryPoolsSupported = 1;
  return OnlyDevice(device);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      *value = 1024;
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = 64;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = 0x7fffffff;
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = 65535;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 * 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kMaxSharedPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 * 1024;
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = 65536;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = 32;
      break;
    case cudaDevAttrWarpSize:
      *value = kWarpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = GetOptions().multiprocessors;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = Major();
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = Minor();
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = 5120;
      break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrStreamPrioritiesSupported:
      *value = 1;
      break;
    case cudaDevAttrAsyncEngineCount:
      *value = 2;
      break;
    default:
      *value = 0;
  }
  return OnlyDevice(device);
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  if (length > 0) std::strncpy(id, "0000:00:00.0", static_cast<size_t>(length));
  return OnlyDevice(device);
}
