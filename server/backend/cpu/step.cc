#include "server/backend/cpu/step.h"

#include "kernels/elementwise.h"
#include "server/backend/cpu/packed_adapter.h"

namespace hydrad {

template <class T>
void Step<T>::Begin(const Batch& batch, std::span<const double> inv_freq, float attention_factor) {
  batch_ = &batch;
  segments_.clear();
  for (const Batch::Segment& s : batch.segments) {
    segments_.push_back(
        {s.row_begin, s.row_end, s.first_position, batch.block_tables.data() + s.table_begin});
  }
  const int width = static_cast<int>(2 * inv_freq.size());
  cos_sin_values_.resize(static_cast<size_t>(batch.rows()) * width);
  cos_sin_ = {cos_sin_values_.data(), batch.rows(), width, width};
  RopeTable(cos_sin_, batch.positions, inv_freq, attention_factor);
  PlanRuns();
}

template <class T>
void Step<T>::PlanRuns() {
  runs_.clear();
  runs_begin_.clear();
  if (batch_->runs.empty()) return;
  const auto packed = [](const Batch::Run& run) { return static_cast<const PackedAdapter<T>*>(run.adapter); };
  const int layers = packed(batch_->runs.front())->layers();
  for (int layer = 0; layer < layers; ++layer) {
    for (int group = 0; group < kProjectionGroups; ++group) {
      runs_begin_.push_back(static_cast<int>(runs_.size()));
      for (const Batch::Run& run : batch_->runs) {
        const LoraGroup<T>& factors = packed(run)->group(layer, static_cast<ProjectionGroup>(group));
        if (!factors.members.empty()) runs_.push_back({run.row_begin, run.row_end, &factors});
      }
    }
  }
  runs_begin_.push_back(static_cast<int>(runs_.size()));
}

template <class T>
std::span<const LoraRun<T>> Step<T>::runs(int layer, ProjectionGroup group) const {
  if (runs_begin_.empty()) return {};
  const int index = layer * kProjectionGroups + static_cast<int>(group);
  const std::span<const LoraRun<T>> all = runs_;
  return all.subspan(runs_begin_[index], runs_begin_[index + 1] - runs_begin_[index]);
}

template class Step<bf16>;
template class Step<float>;

}  // namespace hydrad
