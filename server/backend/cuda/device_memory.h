// The device's memory under one budget: weights, KV cache, adapters and scratch all come out of it.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_DEVICE_MEMORY_H_
#define HYDRAD_SERVER_BACKEND_CUDA_DEVICE_MEMORY_H_

#include <absl/status/statusor.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "server/backend/buffer.h"
#include "server/base/mutex.h"

namespace hydrad {

// What memory is for, in the report.
enum class MemoryUse : uint8_t { kWeights, kModel, kAdapters, kScratch };  // kModel: KV cache and activations
inline constexpr int kMemoryUses = 4;

// Thread-safe. Outlives its buffers. Taking memory may wait for the device, so a step does not.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t budget) : budget_(budget) {}

  // From now on at least `bytes` (a sixteenth of the budget at most) of what is free are for kScratch alone.
  void KeepForScratch(size_t bytes);

  // RESOURCE_EXHAUSTED beyond the budget or what the device has. Aligned to 256 bytes.
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes, MemoryUse use);

  // What anything but kScratch may take.
  size_t free() const;
  // "budget 70000 MiB: weights 15000, KV cache and activations ..., adapters ..., scratch ..., free ..."
  std::string Report() const;

 private:
  class Allocation;
  void GiveBack(size_t bytes, MemoryUse use);
  void NoteLoss(const absl::Status& freed);
  size_t FreeLocked(MemoryUse use) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t budget_;
  std::atomic<bool> loss_told_ = false;  // that memory could not be given back
  mutable Mutex mu_;
  std::array<size_t, kMemoryUses> used_ ABSL_GUARDED_BY(mu_) = {};
  size_t for_scratch_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_DEVICE_MEMORY_H_
