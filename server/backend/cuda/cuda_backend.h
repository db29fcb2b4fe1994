// The GPU behind the device seam: kernels/cuda and cuBLASLt. No CUDA header is needed to include this; what
// implements it is a shared object of its own (hydrad_cuda.so), because the CUDA libraries that it links may
// be missing on a machine that serves on its CPU. server/backend/device.h opens it.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_BACKEND_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_BACKEND_H_

#include <cstdint>
#include <memory>

#include "server/backend/backend.h"

namespace hydrad {

struct CudaBackendOptions {
  int device = 0;
  double memory_fraction =
      0.9;  // of the device's memory, for weights, KV cache, adapters and scratch together
  uint64_t adapter_bytes = 1u << 30;  // of those, set aside for adapters
  bool graphs = true;                 // record decode steps and replay them
  // Multiply-adds with zeros from which it pays to regroup the rows of a step by what their gates picked, in
  // one group of projections. Reasoned, not timed: a card that reaches 300 TFLOP/s makes as many in 5 us,
  // about what two launches and the tables that they read take.
  int64_t regroup_products = 750'000'000;
};

// Weights, adapters, KV cache and activations are bf16, logits f32. UNAVAILABLE without a driver or device;
// RESOURCE_EXHAUSTED when the memory set aside for adapters is not there. See Backend for threads, and
// device_errors.h for what becomes of an error of the device.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options);

}  // namespace hydrad

// The one symbol that hydrad_cuda.so shows: MakeCudaBackend, with null for an error and the reason in
// `status`.
extern "C" hydrad::Backend* hydrad_open_cuda(const hydrad::CudaBackendOptions& options, absl::Status& status);

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_BACKEND_H_
