// The part of StepTables that routers of mixtures need.
#include <algorithm>

#include "server/backend/cuda/step_tables.h"
#include "server/backend/expert_router.h"
#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

size_t Padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

}  // namespace

size_t StepTables::ProbeBytes() const {
  if (routers_.empty()) return 0;
  size_t bytes = Padded(sizeof(int32_t));
  for (const Router* router : routers_) {
    const size_t layers = static_cast<size_t>(router->layers);
    const size_t choices = static_cast<size_t>(router->choices());
    bytes += Padded(layers * choices * sizeof(double)) + Padded(layers * choices * sizeof(float)) +
             Padded(choices * sizeof(void*)) + Padded(layers * sizeof(int32_t)) +
             layers * (Padded(choices * sizeof(void*)) + sizeof(cuda::RouterProbe));
  }
  return bytes + 16;
}

void StepTables::WriteProbes(const Batch& batch) {
  probes_ = static_cast<int>(batch.probes.size());
  if (probes_ == 0) return;
  const int32_t count = probes_;
  probe_count_begin_ = used_;
  Put(std::span<const int32_t>(&count, 1));
  std::vector<cuda::RouterProbe> all, of_one(limits_.layers);
  all.resize(static_cast<size_t>(limits_.layers) * batch.probes.size());
  for (size_t i = 0; i < batch.probes.size(); ++i) {
    WriteProbe(i, of_one);
    for (int layer = 0; layer < limits_.layers; ++layer) all[layer * batch.probes.size() + i] = of_one[layer];
  }
  probes_begin_ = used_;
  Put(std::span<const cuda::RouterProbe>(all));
}

void StepTables::WriteProbe(size_t index, std::span<cuda::RouterProbe> by_layer) {
  const Batch::Probe& probe = batch_->probes[index];
  const Router& router = *routers_[index];
  Probe& placed = probed_[index];
  const size_t layers = by_layer.size(), choices = static_cast<size_t>(router.choices());
  HYDRAD_CHECK(probe.decides == (placed.chosen != nullptr));
  double* sums = Put(std::span(batch_->probe_sums).subspan(probe.sums_begin, layers * choices));
  const float* bias = Put(std::span<const float>(router.bias));
  const cuda::LoraGroup* const* tables = nullptr;
  int32_t* picked = nullptr;
  if (probe.decides) {
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
                       .chosen = probe.decides ? placed.chosen + layer : nullptr,
                       .choice = probe.decides ? picked + layer : nullptr};
  }
  placed.sums = sums;
  placed.picks = picked;
  placed.sums_begin = probe.sums_begin;
  placed.sum_count = layers * choices;
}

absl::Status StepTables::FetchRoutes(cudaStream_t stream) {
  const auto layers = static_cast<size_t>(limits_.layers);
  const auto fetch = [stream](void* to, const void* from, size_t bytes) {
    return CudaStatus(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
                      "fetching what the routers picked");
  };
  for (size_t i = 0; i < probed_.size(); ++i) {
    const Probe& probe = probed_[i];
    RETURN_IF_ERROR(fetch(host_sums() + probe.sums_begin, probe.sums, probe.sum_count * sizeof(double)));
    if (probe.picks == nullptr) continue;
    RETURN_IF_ERROR(fetch(host_picks() + i * layers, probe.picks, layers * sizeof(int32_t)));
  }
  return absl::OkStatus();
}

Routed StepTables::Routes(size_t probe) const {
  const auto layers = static_cast<size_t>(limits_.layers);
  const Probe& placed = probed_[probe];
  Routed routed{.sums = {host_sums() + placed.sums_begin, placed.sum_count}, .picks = {}};
  if (placed.picks != nullptr) routed.picks = {host_picks() + probe * layers, layers};
  return routed;
}

}  // namespace hydrad
