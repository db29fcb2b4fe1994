// What the CPU backend works out once per step and every layer then reads: kernels' views of the batch.
#ifndef HYDRAD_SERVER_BACKEND_CPU_CPU_STEP_H_
#define HYDRAD_SERVER_BACKEND_CPU_CPU_STEP_H_

#include <span>
#include <vector>

#include "kernels/attention.h"
#include "kernels/lora.h"
#include "server/backend/backend.h"

namespace hydrad {

// Owned by the scheduler thread. Its vectors grow to the largest step and then stay.
template <class T>  // element type of adapters, bf16 or float
class CpuStep {
 public:
  // Plans `batch`, which must outlive the step. Its adapters are PackedAdapter<T>.
  void Begin(const Batch& batch, std::span<const double> inv_freq, float attention_factor);

  const Batch& batch() const { return *batch_; }
  std::span<const AttentionSegment> segments() const { return segments_; }
  // [rows, head_dim], see kernels/elementwise.h Rope.
  Mat<const float> cos_sin() const { return cos_sin_; }
  size_t passes() const { return batch_->passes(); }
  // The runs of a pass (see Batch::runs) whose adapter changes the group in the layer. Valid until the next
  // call.
  std::span<const LoraRun<T>> runs(size_t pass, int layer, ProjectionGroup group);
  // See Backend::Gates.
  std::span<const float> gates(int record) const;

 private:
  void PlaceRecords();
  LoraRun<T> MakeRun(const Batch::Run& run, int layer, ProjectionGroup group);

  const Batch* batch_ = nullptr;
  std::vector<AttentionSegment> segments_;
  std::vector<float> cos_sin_values_;
  Mat<float> cos_sin_{};
  std::vector<LoraRun<T>> runs_;
  std::vector<float> gates_;          // the records, one after the other
  std::vector<size_t> record_begin_;  // [records + 1] into gates_
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_CPU_STEP_H_
