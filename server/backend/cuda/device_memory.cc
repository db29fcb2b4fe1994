#include "server/backend/cuda/device_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "server/backend/cuda/cuda_status.h"
#include "server/base/status.h"

namespace hydrad {

class DeviceMemory::Allocation final : public Buffer {
 public:
  Allocation(DeviceMemory& memory, void* data, size_t bytes, MemoryUse use)
      : memory_(memory), data_(data), bytes_(bytes), use_(use) {}
  // An error is that of an earlier call, or the device is lost, and its memory with it.
  ~Allocation() override {
    if (const absl::Status freed = CudaStatus(cudaFree(data_), "giving memory back"); !freed.ok())
      memory_.NoteLoss(freed);
    memory_.GiveBack(bytes_, use_);
  }
  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  DeviceMemory& memory_;
  void* const data_;
  const size_t bytes_;
  const MemoryUse use_;
};

void DeviceMemory::KeepForScratch(size_t bytes) {
  MutexLock lock(&mu_);
  for_scratch_ = std::min(bytes, budget_ / 16);
}

absl::StatusOr<std::unique_ptr<Buffer>> DeviceMemory::Allocate(size_t bytes, MemoryUse use) {
  bytes = std::max<size_t>(bytes, 1);
  {
    MutexLock lock(&mu_);
    if (bytes > FreeLocked(use)) {
      return ResourceExhausted("the device has {} bytes left of its budget of {}, and {} were asked for",
                               FreeLocked(use), budget_, bytes);
    }
    used_[static_cast<int>(use)] += bytes;
  }
  void* data = nullptr;
  if (const absl::Status taken = CudaStatus(cudaMalloc(&data, bytes), fmt::format("taking {} bytes", bytes));
      !taken.ok()) {
    GiveBack(bytes, use);
    return taken;
  }
  return std::make_unique<Allocation>(*this, data, bytes, use);
}

size_t DeviceMemory::free() const {
  MutexLock lock(&mu_);
  return FreeLocked(MemoryUse::kModel);
}

std::string DeviceMemory::Report() const {
  MutexLock lock(&mu_);
  const auto mib = [](size_t bytes) { return bytes >> 20; };
  return fmt::format(
      "budget {} MiB: weights {}, KV cache and activations {}, adapters {}, scratch {}, free {}",
      mib(budget_), mib(used_[0]), mib(used_[1]), mib(used_[2]), mib(used_[3]),
      mib(FreeLocked(MemoryUse::kScratch)));
}

void DeviceMemory::GiveBack(size_t bytes, MemoryUse use) {
  MutexLock lock(&mu_);
  used_[static_cast<int>(use)] -= bytes;
}

void DeviceMemory::NoteLoss(const absl::Status& freed) {
  if (loss_told_.exchange(true)) return;
  std::fprintf(stderr, "hydrad: %s; told once\n", std::string(freed.message()).c_str());
}

size_t DeviceMemory::FreeLocked(MemoryUse use) const {
  const size_t free = budget_ - std::accumulate(used_.begin(), used_.end(), size_t{0});
  return use == MemoryUse::kScratch ? free : free - std::min(free, for_scratch_);
}

}  // namespace hydrad
