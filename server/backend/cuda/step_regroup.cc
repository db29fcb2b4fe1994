// The part of StepTables that finds the runs whose gates leave so much out that regrouping their rows pays.
#include <algorithm>

#include "server/backend/cuda/step_tables.h"

namespace hydrad {
namespace {

constexpr int kLeastRows = 2 * cuda::kLoraTileRows;  // of a run: fewer make no tiles of their own

bool Any(const std::array<int64_t, kProjectionGroups>& zeros) {
  return std::ranges::any_of(zeros, [](int64_t z) { return z > 0; });
}

}  // namespace

// Counts the products with zeros that regrouping could spare the run. Mixtures of plain adapters have none.
StepTables::ByKind StepTables::ZerosOf(const Batch::Run& run) const {
  ByKind zeros{};
  const int rows = run.row_end - run.row_begin;
  if (!run.one_for_all_layers() || rows < kLeastRows) return zeros;
  for (int kind = 0; kind < kProjectionGroups; ++kind)
    zeros[kind] = rows * AdapterOf(run).ZeroProducts(kind, run.top_k);
  return zeros;
}

bool StepTables::AnyToRegroup(std::span<const Batch::Run> runs) const {
  return may_regroup_ && std::ranges::any_of(runs, [this](const auto& run) { return Any(ZerosOf(run)); });
}

// Plans the runs of a term, whose form for the kernels is in runs_.
void StepTables::WriteRegrouped(std::span<const Batch::Run> runs, int rows) {
  Regrouped& plans = regrouped_.emplace_back();
  if (!AnyToRegroup(runs)) return;
  ByKind all{};
  std::vector<cuda::LoraRun> some, rest;
  for (size_t i = 0; i < runs.size(); ++i) {
    const ByKind zeros = ZerosOf(runs[i]);
    for (int kind = 0; kind < kProjectionGroups; ++kind) all[kind] += zeros[kind];
    (Any(zeros) ? some : rest).push_back(runs_[i]);
  }
  for (int kind = 0; kind < kProjectionGroups; ++kind) {
    plans.kinds[kind] = all[kind] > 0 && all[kind] >= regroup_products_;
  }
  if (std::ranges::none_of(plans.kinds, [](bool pays) { return pays; })) return;
  plans.begin = PutLora({}, some, rows, 0);
  if (!rest.empty()) plans.rest_begin = PutLora({}, rest, rows, 0);
}

}  // namespace hydrad
