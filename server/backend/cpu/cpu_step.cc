#include "server/backend/cpu/cpu_step.h"

#include "kernels/elementwise.h"
#include "server/base/check.h"

namespace hydrad {

template <class T>
void CpuStep<T>::Begin(const Batch& batch, std::span<const double> inv_freq) {
  batch_ = &batch;
  segments_.clear();
  for (const Batch::Segment& s : batch.segments) {
    segments_.push_back(
        {s.row_begin, s.row_end, s.first_position, batch.block_tables.data() + s.table_begin});
  }
  const int width = static_cast<int>(2 * inv_freq.size());
  cos_sin_values_.resize(static_cast<size_t>(batch.rows()) * width);
  cos_sin_ = {cos_sin_values_.data(), batch.rows(), width, width};
  RopeTable(cos_sin_, batch.positions, inv_freq);
  LookUp();
  PlaceRecords();
  CountTokens();
}

template <class T>
void CpuStep<T>::LookUp() {
  adapters_.clear();
  ends_.clear();
  for (const Batch::Run& run : batch_->runs) {
    adapters_.push_back(&Packed(run.adapter));
    ends_.push_back(adapters_.back()->vocabulary());
  }
  layer_adapters_.clear();
  for (const int32_t slot : batch_->layer_adapters) layer_adapters_.push_back(&Packed(slot));
  probes_.clear();
  size_t layers = 0;
  for (const Batch::Probe& probe : batch_->probes) {
    probes_.push_back({&held_.router(probe.router), layers});
    layers += static_cast<size_t>(probes_.back().router->layers);
  }
  picks_.assign(layers, -1);
  sums_.assign(batch_->probe_sums.begin(), batch_->probe_sums.end());
}

template <class T>
void CpuStep<T>::PlaceRecords() {
  record_begin_.assign(1, 0);
  for (const Batch::Run& run : batch_->runs) {
    if (run.gates < 0) continue;
    HYDRAD_CHECK(run.gates + 1 == static_cast<int>(record_begin_.size()));
    const size_t rows = static_cast<size_t>(run.row_end - run.row_begin);
    record_begin_.push_back(record_begin_.back() + rows * Packed(run.adapter).gate_count());
  }
  if (gates_.size() < record_begin_.back()) gates_.resize(record_begin_.back());
}

template <class T>
void CpuStep<T>::CountTokens() {
  vocabs_.clear();
  for (size_t i = 0; i < ends_.size(); ++i) {
    const int own = ends_[i] == nullptr ? 0 : ends_[i]->head.vocab;
    if (own == 0) continue;
    vocabs_.resize(batch_->logit_rows.size());
    for (size_t row = 0; row < vocabs_.size(); ++row) {
      const int32_t of = batch_->logit_rows[row];
      if (of >= batch_->runs[i].row_begin && of < batch_->runs[i].row_end) vocabs_[row] = own;
    }
  }
}

template <class T>
std::span<const LoraRun<T>> CpuStep<T>::runs(size_t term, int layer, ProjectionGroup group) {
  runs_.clear();
  for (const Batch::Run& run : batch_->term(term)) {
    const LoraRun<T> made = MakeRun(run, layer, group);
    if (!made.group->members.empty()) runs_.push_back(made);
  }
  return runs_;
}

template <class T>
const PackedAdapter<T>& CpuStep<T>::AdapterOf(const Batch::Run& run, int layer) const {
  if (run.by_layer >= 0) return *layer_adapters_[static_cast<size_t>(run.by_layer + layer)];
  if (run.decided_by < 0) return *adapters_[static_cast<size_t>(&run - batch_->runs.data())];
  const Probe& probe = probes_[static_cast<size_t>(run.decided_by)];
  const int32_t pick = picks_[probe.picks_begin + static_cast<size_t>(layer)];
  HYDRAD_CHECK(pick >= 0);
  return static_cast<const PackedAdapter<T>&>(*probe.router->experts[static_cast<size_t>(pick)]);
}

template <class T>
LoraRun<T> CpuStep<T>::MakeRun(const Batch::Run& run, int layer, ProjectionGroup group) {
  const PackedAdapter<T>& packed = AdapterOf(run, layer);
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

template <class T>
std::span<double> CpuStep<T>::sums(size_t probe, int layer) {
  const auto choices = static_cast<size_t>(router(probe).choices());
  const auto begin = static_cast<size_t>(batch_->probes[probe].sums_begin);
  return std::span(sums_).subspan(begin + static_cast<size_t>(layer) * choices, choices);
}

template <class T>
void CpuStep<T>::Pick(size_t probe, int layer, int choice) {
  picks_[probes_[probe].picks_begin + static_cast<size_t>(layer)] = choice;
}

template <class T>
Routed CpuStep<T>::routed(size_t probe) const {
  const auto layers = static_cast<size_t>(router(probe).layers);
  const auto choices = static_cast<size_t>(router(probe).choices());
  const auto begin = static_cast<size_t>(batch_->probes[probe].sums_begin);
  Routed routed{.sums = std::span(sums_).subspan(begin, layers * choices), .picks = {}};
  if (batch_->probes[probe].decides)
    routed.picks = std::span(picks_).subspan(probes_[probe].picks_begin, layers);
  return routed;
}

template class CpuStep<bf16>;
template class CpuStep<float>;

}  // namespace hydrad
