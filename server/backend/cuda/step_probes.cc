// The part of StepTables that routers of mixtures need.
#include <algorithm>

#include "server/backend/cuda/step_tables.h"
#include "server/backend/expert_router.h"

namespace hydrad {
namespace {

size_t Padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

}  // namespace

size_t StepTables::ProbeBytes(const Batch& batch) {
  if (batch.probes.empty()) return 0;
  size_t bytes = Padded(sizeof(int32_t));
  for (const Batch::Probe& probe : batch.probes) {
    const size_t layers = static_cast<size_t>(probe.router->layers);
    const size_t choices = static_cast<size_t>(probe.router->choices());
    bytes += Padded(layers * choices * sizeof(double)) + Padded(layers * choices * sizeof(float)) +
             Padded(choices * sizeof(void*)) + Padded(layers * sizeof(int32_t)) +
             layers * (Padded(choices * sizeof(void*)) + sizeof(cuda::RouterProbe));
  }
  return bytes + 16;
}

void StepTables::WriteProbes(const Batch& batch) {
  batch_ = &batch;
  probes_ = static_cast<int>(batch.probes.size());
  probe_sums_.clear();
  probe_picks_.clear();
  if (probes_ == 0) return;
  const int32_t count = probes_;
  probe_count_begin_ = used_;
  Put(std::span<const int32_t>(&count, 1));
  std::vector<cuda::RouterProbe> all, of_one(limits_.layers);
  all.resize(static_cast<size_t>(limits_.layers) * batch.probes.size());
  for (size_t i = 0; i < batch.probes.size(); ++i) {
    WriteProbe(batch.probes[i], of_one);
    for (int layer = 0; layer < limits_.layers; ++layer) all[layer * batch.probes.size() + i] = of_one[layer];
  }
  probes_begin_ = used_;
  Put(std::span<const cuda::RouterProbe>(all));
}

void StepTables::WriteProbe(const Batch::Probe& probe, std::span<cuda::RouterProbe> by_layer) {
  const Router& router = *probe.router;
  const size_t layers = by_layer.size(), choices = static_cast<size_t>(router.choices());
  double* sums = Put(std::span<const double>(probe.sums, layers * choices));
  const float* bias = Put(std::span<const float>(router.bias));
  const auto run = std::find_if(by_layer_.begin(), by_layer_.end(),
                                [&](const auto& entry) { return entry.first == probe.by_layer; });
  const bool picks = probe.by_layer != nullptr && run != by_layer_.end();
  const cuda::LoraGroup* const* tables = nullptr;
  int32_t* picked = nullptr;
  if (picks) {
    std::vector<const cuda::LoraGroup*> experts;
    for (const DeviceAdapter* expert : router.experts) {
      experts.push_back(static_cast<const CudaAdapter&>(*expert).groups());
    }
    tables = Put(std::span<const cuda::LoraGroup* const>(experts));
    picked = Put(std::span<const int32_t>(std::vector<int32_t>(layers)));
  }
  for (size_t layer = 0; layer < layers; ++layer) {
    std::vector<const float*> rows;
    for (const Buffer* row : router.rows) {
      const size_t hidden = row->bytes() / sizeof(float) / layers;
      rows.push_back(static_cast<const float*>(row->data()) + layer * hidden);
    }
    by_layer[layer] = {.row_begin = probe.row_begin,
                       .row_end = probe.row_end,
                       .experts = static_cast<int32_t>(choices),
                       .pooled = probe.pooled,
                       .router = Put(std::span<const float* const>(rows)),
                       .bias = bias + layer * choices,
                       .sums = sums + layer * choices,
                       .choices = tables,
                       .chosen = picks ? run->second + layer : nullptr,
                       .choice = picks ? picked + layer : nullptr};
  }
  probe_sums_.push_back(sums);
  probe_picks_.push_back(picked);
}

absl::Status StepTables::FinishProbes(cudaStream_t stream) {
  constexpr char kFetching[] = "fetching what the routers picked";
  std::vector<std::vector<int32_t>> picked(batch_->probes.size());
  for (size_t i = 0; i < batch_->probes.size(); ++i) {
    const Batch::Probe& probe = batch_->probes[i];
    const size_t layers = static_cast<size_t>(limits_.layers),
                 choices = static_cast<size_t>(probe.router->choices());
    RETURN_IF_ERROR(CudaStatus(cudaMemcpyAsync(probe.sums, probe_sums_[i], layers * choices * sizeof(double),
                                               cudaMemcpyDeviceToHost, stream),
                               kFetching));
    if (probe_picks_[i] == nullptr) continue;
    picked[i].resize(layers);
    RETURN_IF_ERROR(CudaStatus(cudaMemcpyAsync(picked[i].data(), probe_picks_[i], layers * sizeof(int32_t),
                                               cudaMemcpyDeviceToHost, stream),
                               kFetching));
  }
  RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream), kFetching));
  for (size_t i = 0; i < batch_->probes.size(); ++i) {
    const Batch::Probe& probe = batch_->probes[i];
    for (size_t layer = 0; layer < picked[i].size(); ++layer) {
      probe.by_layer[layer] = probe.router->experts[static_cast<size_t>(picked[i][layer])];
    }
  }
  return absl::OkStatus();
}

}  // namespace hydrad
