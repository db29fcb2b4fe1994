#include "server/backend/cpu/cpu_step.h"

#include "kernels/elementwise.h"
#include "server/backend/cpu/packed_adapter.h"

namespace hydrad {

template <class T>
void CpuStep<T>::Begin(const Batch& batch, std::span<const double> inv_freq, float attention_factor) {
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
  PlaceRecords();
}

template <class T>
void CpuStep<T>::PlaceRecords() {
  record_begin_.assign(1, 0);
  for (const Batch::Run& run : batch_->runs) {
    if (run.gates < 0) continue;
    HYDRAD_CHECK(run.gates + 1 == static_cast<int>(record_begin_.size()));
    const size_t rows = static_cast<size_t>(run.row_end - run.row_begin);
    record_begin_.push_back(record_begin_.back() + rows * run.adapter->gate_count());
  }
  if (gates_.size() < record_begin_.back()) gates_.resize(record_begin_.back());
}

template <class T>
std::span<const LoraRun<T>> CpuStep<T>::runs(size_t pass, int layer, ProjectionGroup group) {
  runs_.clear();
  for (const Batch::Run& run : batch_->pass(pass)) {
    const LoraRun<T> made = MakeRun(run, layer, group);
    if (!made.group->members.empty()) runs_.push_back(made);
  }
  return runs_;
}

template <class T>
LoraRun<T> CpuStep<T>::MakeRun(const Batch::Run& run, int layer, ProjectionGroup group) {
  const DeviceAdapter* adapter = run.by_layer != nullptr ? run.by_layer[layer] : run.adapter;
  const PackedAdapter<T>& packed = static_cast<const PackedAdapter<T>&>(*adapter);
  LoraRun<T> made{run.row_begin, run.row_end, &packed.group(layer, group), run.weight, run.top_k};
  if (run.gates >= 0) {
    made.gates = gates_.data() + record_begin_[run.gates] + packed.gate_begin(layer, group);
    made.gates_stride = packed.gate_count();
  }
  return made;
}

template <class T>
std::span<const float> CpuStep<T>::gates(int record) const {
  const std::span<const float> all = gates_;
  return all.subspan(record_begin_[record], record_begin_[record + 1] - record_begin_[record]);
}

template class CpuStep<bf16>;
template class CpuStep<float>;

}  // namespace hydrad
