// A step's metadata on the device: one block, filled in pinned memory and copied once.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_STEP_TABLES_H_
#define HYDRAD_SERVER_BACKEND_CUDA_STEP_TABLES_H_

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/plan.h"
#include "server/backend/cuda/cuda_handles.h"
#include "server/backend/cuda/device_adapter.h"
#include "server/backend/cuda/device_memory.h"

namespace hydrad {

// Owned by the scheduler thread. What kernels are launched with (the addresses below) stays the same from
// step to step unless Begin says otherwise, so that a recorded launch finds the step at hand.
class StepTables {
 public:
  // `partials`: room for partial results of attention. RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<StepTables>> Make(DeviceMemory& memory, const StepLimits& limits,
                                                          int partials);

  // Plans `batch`, padded to `rows` rows, and puts it on its way on `stream`. Returns whether addresses have
  // changed: the block table of a step may be longer than any before.
  bool Begin(const Batch& batch, int rows, cudaStream_t stream);

  const int32_t* tokens() const { return At<int32_t>(0); }
  const int32_t* positions() const { return At<int32_t>(Column(1)); }
  const int32_t* slots() const { return At<int32_t>(Column(2)); }
  const int32_t* logit_rows() const { return At<int32_t>(Column(3)); }
  const cuda::AttentionPlan* attention() const { return At<cuda::AttentionPlan>(Column(4)); }
  // Of the pass, below passes().
  const cuda::LoraPlan* lora(size_t pass) const { return At<cuda::LoraPlan>(lora_begin_[pass]); }
  size_t passes() const { return lora_begin_.size(); }

  // [rows of the run, gate_count() of its adapter], once the step is over: see Backend::Gates. Waits for
  // `stream`.
  std::span<const float> Gates(int record, cudaStream_t stream);

 private:
  StepTables(DeviceMemory& memory, const StepLimits& limits, int partials)
      : memory_(memory), limits_(limits), partials_(partials) {}

  template <class V>
  V* At(size_t offset) const {
    return reinterpret_cast<V*>(static_cast<std::byte*>(device_->data()) + offset);
  }
  size_t Column(int i) const { return static_cast<size_t>(i) * column_bytes_; }
  size_t FixedBytes() const;

  absl::Status Grow(size_t bytes);
  size_t BytesFor(const Batch& batch) const;
  void PlaceRecords(const Batch& batch);
  void WriteRows(const Batch& batch, int rows);
  void WriteAttention(const Batch& batch);
  void WriteAdapters(const Batch& batch);
  cuda::LoraRun MakeRun(const Batch::Run& run);
  template <class V>
  V* Put(std::span<const V> values);
  template <class V>
  void PutAt(size_t offset, std::span<const V> values);

  DeviceMemory& memory_;
  const StepLimits limits_;
  const int partials_;
  size_t column_bytes_ = 0;  // of one column of fixed place

  struct Stage {
    PinnedBuffer memory;
    CudaEvent copied = MakeEvent();
  };
  std::unique_ptr<Buffer> device_;
  std::array<Stage, 2> stages_;  // a step is written while the one before is copied
  size_t next_stage_ = 0;
  std::byte* host_ = nullptr;  // of the stage at hand
  size_t used_ = 0;            // bytes of it

  std::vector<size_t> lora_begin_;  // of each pass's plan; the first has a fixed place
  std::vector<cuda::AttentionItem> items_;
  std::vector<cuda::AttentionMerge> merges_;
  std::vector<cuda::LoraRun> runs_;
  std::vector<cuda::LoraTile> tiles_;

  std::unique_ptr<Buffer> gates_;
  std::vector<size_t> record_begin_;  // [records + 1] into gates_, in numbers
  std::vector<float> host_gates_;     // what Gates has fetched of this step
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_STEP_TABLES_H_
