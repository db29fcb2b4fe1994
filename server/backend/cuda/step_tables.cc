#include "server/backend/cuda/step_tables.h"

#include <algorithm>
#include <cstring>

#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr size_t kAlignment = 16;

size_t Padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The kernels' segments have the batch's fields.
std::span<const cuda::AttentionSegment> SegmentsOf(const Batch& batch) {
  static_assert(sizeof(Batch::Segment) == sizeof(cuda::AttentionSegment));
  return {reinterpret_cast<const cuda::AttentionSegment*>(batch.segments.data()), batch.segments.size()};
}

}  // namespace

// Calls `use` with every adapter that the run uses, or may use once a router has picked.
template <class Use>
void StepTables::ForEachAdapter(const Batch::Run& run, Use use) const {
  if (run.one_for_all_layers()) return use(AdapterOf(run));
  if (run.by_layer >= 0) {
    const auto begin = static_cast<size_t>(run.by_layer);
    for (int layer = 0; layer < limits_.layers; ++layer) use(*layer_adapters_[begin + layer]);
    return;
  }
  for (const DeviceAdapter* expert : routers_[static_cast<size_t>(run.decided_by)]->experts) {
    use(static_cast<const CudaAdapter&>(*expert));
  }
}

void StepTables::LookUp(const Batch& batch) {
  batch_ = &batch;
  sum_count_ = batch.probe_sums.size();
  const auto adapter = [this](int32_t slot) { return static_cast<const CudaAdapter*>(&held_.adapter(slot)); };
  adapters_.clear();
  for (const Batch::Run& run : batch.runs) adapters_.push_back(adapter(run.adapter));
  layer_adapters_.clear();
  for (const int32_t slot : batch.layer_adapters) layer_adapters_.push_back(adapter(slot));
  routers_.clear();
  for (const Batch::Probe& probe : batch.probes) routers_.push_back(&held_.router(probe.router));
}

absl::StatusOr<std::unique_ptr<StepTables>> StepTables::Make(DeviceMemory& memory, StepPlace& place,
                                                             const DeviceAdapters& held,
                                                             const StepLimits& limits, int partials,
                                                             int64_t regroup_products) {
  std::unique_ptr<StepTables> tables(new StepTables(memory, place, held, limits, partials, regroup_products));
  tables->column_bytes_ = Padded(sizeof(int32_t) * std::max(limits.max_rows, limits.max_logit_rows));
  // A step of as many sequences as logits may be asked for, each as long as it gets, and as many runs.
  const size_t blocks = static_cast<size_t>(limits.max_context / limits.block_size + 1);
  const size_t sequences = static_cast<size_t>(limits.max_logit_rows);
  const size_t run = sizeof(cuda::LoraRun) + sizeof(cuda::LoraTile);
  const size_t bytes = tables->FixedBytes() + sequences * (sizeof(int32_t) * blocks + run) +
                       static_cast<size_t>(limits.max_rows) * 4 * sizeof(cuda::AttentionItem);
  if (place.tables == nullptr) RETURN_IF_ERROR(tables->Grow(bytes));
  ASSIGN_OR_RETURN(tables->host_, PinnedBuffer::Make(place.tables->bytes()));
  return tables;
}

size_t StepTables::FixedBytes() const { return HeadPlace() + Padded(sizeof(cuda::LoraPlan)); }
size_t StepTables::LoraPlace() const { return Column(4) + Padded(sizeof(cuda::AttentionPlan)); }
size_t StepTables::VocabularyPlace() const { return LoraPlace() + Padded(sizeof(cuda::LoraPlan)); }
size_t StepTables::HeadPlace() const { return VocabularyPlace() + Padded(sizeof(cuda::VocabularyPlan)); }

bool StepTables::Fits(size_t bytes) const {
  return place_.tables != nullptr && bytes <= place_.tables->bytes() &&
         (GateBytes() == 0 || (place_.gates != nullptr && GateBytes() <= place_.gates->bytes()));
}

// Makes room for tables of so many bytes and for the gates, twice as much as is needed of what there was not.
absl::Status StepTables::Grow(size_t bytes) {
  if (place_.tables == nullptr || bytes > place_.tables->bytes()) {
    const size_t grown = place_.tables == nullptr ? bytes : 2 * bytes;
    place_.tables.reset();
    ASSIGN_OR_RETURN(place_.tables, memory_.Allocate(grown, MemoryUse::kScratch));
  }
  if (GateBytes() == 0 || (place_.gates != nullptr && GateBytes() <= place_.gates->bytes()))
    return absl::OkStatus();
  place_.gates.reset();
  ASSIGN_OR_RETURN(place_.gates, memory_.Allocate(2 * GateBytes(), MemoryUse::kScratch));
  return absl::OkStatus();
}

// All of a plan that needs no memory but vectors.
void StepTables::Look(const Batch& batch, bool recorded) {
  may_regroup_ = !recorded;
  LookUp(batch);
  items_.clear();
  merges_.clear();
  cuda::PlanAttention(SegmentsOf(batch), limits_.heads / limits_.kv_heads, partials_, &items_, &merges_);
  PlaceRecords(batch);
}

absl::StatusOr<bool> StepTables::Plan(const Batch& batch, int rows, bool recorded) {
  Look(batch, recorded);
  const void* const before = place_.tables == nullptr ? nullptr : place_.tables->data();
  RETURN_IF_ERROR(Grow(BytesFor(batch)));
  RETURN_IF_ERROR(Write(batch, rows));
  return place_.tables->data() != before;
}

absl::StatusOr<bool> StepTables::PlanAhead(const Batch& batch, int rows, bool recorded) {
  Look(batch, recorded);
  if (!Fits(BytesFor(batch))) return false;
  RETURN_IF_ERROR(Write(batch, rows));
  return true;
}

// In host memory, where the device's addresses are known.
absl::Status StepTables::Write(const Batch& batch, int rows) {
  const size_t bytes = place_.tables->bytes();
  if (host_.bytes() < bytes) {
    ASSIGN_OR_RETURN(host_, PinnedBuffer::Make(bytes));
  }
  if (results_.bytes() < ResultBytes()) {
    ASSIGN_OR_RETURN(results_, PinnedBuffer::Make(2 * ResultBytes()));
  }
  used_ = FixedBytes();
  WriteRows(batch, rows);
  WriteAttention(batch);
  probed_.assign(batch.probes.size(), {});
  WriteAdapters(batch);
  WriteEnds(batch);
  WriteProbes(batch);
  HYDRAD_CHECK(used_ <= bytes);
  return absl::OkStatus();
}

absl::Status StepTables::Send(cudaStream_t stream) {
  PutAt(Column(0), std::span<const int32_t>(batch_->tokens));
  RETURN_IF_ERROR(
      CudaStatus(cudaMemcpyAsync(place_.tables->data(), host_.data(), used_, cudaMemcpyHostToDevice, stream),
                 "copying the step's tables"));
  return AwaitAdapters(*batch_, stream);
}

absl::Status StepTables::AwaitAdapters(const Batch& batch, cudaStream_t stream) const {
  absl::Status awaited;
  for (const Batch::Run& run : batch.runs) {
    ForEachAdapter(run, [&](const CudaAdapter& adapter) { awaited.Update(adapter.Use(stream)); });
  }
  return awaited;
}

size_t StepTables::BytesFor(const Batch& batch) const {
  size_t bytes = FixedBytes() + Padded(batch.segments.size() * sizeof(cuda::AttentionSegment)) +
                 Padded(batch.block_tables.size() * sizeof(int32_t)) +
                 Padded(items_.size() * sizeof(cuda::AttentionItem)) +
                 Padded(merges_.size() * sizeof(cuda::AttentionMerge));
  for (size_t term = 0; term < batch.terms(); ++term) {
    const auto runs = batch.term(term);
    bytes += LoraBytes(runs.size(), batch.rows()) * (AnyToRegroup(runs) ? 3 : 1);
  }
  for (const Batch::Run& run : batch.runs) {
    if (!run.one_for_all_layers()) bytes += Padded(limits_.layers * sizeof(void*));
  }
  return bytes + EndsBytes(batch) + ProbeBytes();
}

size_t StepTables::LoraBytes(size_t runs, int rows) {
  return Padded(sizeof(cuda::LoraPlan)) + Padded(runs * sizeof(cuda::LoraRun)) +
         Padded(cuda::LoraTilesAtMost(static_cast<int>(runs), rows) * sizeof(cuda::LoraTile));
}

void StepTables::PlaceRecords(const Batch& batch) {
  record_begin_.assign(1, 0);
  for (const Batch::Run& run : batch.runs) {
    if (run.gates < 0) continue;
    HYDRAD_CHECK(run.gates + 1 == static_cast<int>(record_begin_.size()));
    const size_t rows = static_cast<size_t>(run.row_end - run.row_begin);
    record_begin_.push_back(record_begin_.back() + rows * AdapterOf(run).gate_count());
  }
}

// A padded row is token 0 at position 0; it belongs to no sequence, and its K and V are not kept.
void StepTables::WriteRows(const Batch& batch, int rows) {
  HYDRAD_CHECK(rows <= limits_.max_rows &&
               batch.logit_rows.size() <= static_cast<size_t>(limits_.max_logit_rows));
  const auto padded = [&](size_t column, const std::vector<int32_t>& values, int32_t fill) {
    PutAt(Column(static_cast<int>(column)), std::span<const int32_t>(values));
    auto* begin = reinterpret_cast<int32_t*>(host_.data() + Column(static_cast<int>(column)));
    std::fill(begin + values.size(), begin + std::max<size_t>(values.size(), rows), fill);
  };
  padded(0, batch.tokens, 0);
  padded(1, batch.positions, 0);
  padded(2, batch.slots, -1);
  padded(3, batch.logit_rows, 0);
}

void StepTables::WriteAttention(const Batch& batch) {
  const cuda::AttentionPlan plan = {.segments = Put(SegmentsOf(batch)),
                                    .tables = Put(std::span<const int32_t>(batch.block_tables)),
                                    .items = Put(std::span<const cuda::AttentionItem>(items_)),
                                    .merges = Put(std::span<const cuda::AttentionMerge>(merges_)),
                                    .item_count = static_cast<int32_t>(items_.size()),
                                    .merge_count = static_cast<int32_t>(merges_.size())};
  PutAt(Column(4), std::span<const cuda::AttentionPlan>(&plan, 1));
}

void StepTables::WriteAdapters(const Batch& batch) {
  lora_begin_.clear();
  regrouped_.clear();
  for (size_t term = 0; term < batch.terms(); ++term) {
    cuda::LoraPlan plan{};
    runs_.clear();
    for (const Batch::Run& run : batch.term(term)) {
      runs_.push_back(MakeRun(run));
      ForEachAdapter(run, [&](const CudaAdapter& adapter) {
        for (int kind = 0; kind < kProjectionGroups; ++kind) {
          plan.down_rows[kind] = std::max<int32_t>(plan.down_rows[kind], adapter.extents().down_rows[kind]);
        }
      });
    }
    // Recorded steps look for the first at its place.
    lora_begin_.push_back(PutLora(plan, runs_, batch.rows(), term == 0 ? LoraPlace() : 0));
    WriteRegrouped(batch.term(term), batch.rows());
  }
}

// Returns where the plan stands: at `place`, or where there is room if that is 0.
size_t StepTables::PutLora(cuda::LoraPlan plan, std::span<const cuda::LoraRun> runs, int rows, size_t place) {
  tiles_.resize(cuda::LoraTilesAtMost(static_cast<int>(runs.size()), rows));
  cuda::PlanLoraTiles(runs, tiles_.data(), &plan);
  const int tiles = plan.tile_count[0] + plan.tile_count[1] + plan.tile_count[2];
  plan.runs = Put(runs);
  plan.tiles = Put(std::span<const cuda::LoraTile>(tiles_).first(tiles));
  if (place == 0) {
    place = used_;
    used_ += Padded(sizeof plan);
  }
  PutAt(place, std::span<const cuda::LoraPlan>(&plan, 1));
  return place;
}

cuda::LoraRun StepTables::MakeRun(const Batch::Run& run) {
  cuda::LoraRun made = {.row_begin = run.row_begin,
                        .row_end = run.row_end,
                        .groups = run.one_for_all_layers() ? AdapterOf(run).groups() : nullptr,
                        .by_layer = run.one_for_all_layers() ? nullptr : PutByLayer(run),
                        .weight = run.weight,
                        .top_k = run.top_k,
                        .gates = nullptr,
                        .gates_stride = 0};
  if (run.gates >= 0) {
    made.gates = static_cast<float*>(place_.gates == nullptr ? nullptr : place_.gates->data()) +
                 record_begin_[run.gates];
    made.gates_stride = AdapterOf(run).gate_count();
  }
  return made;
}

// A layer whose adapter is not known yet has none until its router has picked.
const cuda::LoraGroup** StepTables::PutByLayer(const Batch::Run& run) {
  std::vector<const cuda::LoraGroup*> tables(limits_.layers);
  for (int layer = 0; run.by_layer >= 0 && layer < limits_.layers; ++layer) {
    tables[layer] = layer_adapters_[static_cast<size_t>(run.by_layer + layer)]->groups();
  }
  const cuda::LoraGroup** placed = Put(std::span<const cuda::LoraGroup* const>(tables));
  if (run.decided_by >= 0) probed_[static_cast<size_t>(run.decided_by)].chosen = placed;
  return placed;
}

size_t StepTables::ResultBytes() const {
  return sizeof(double) * sum_count_ + GateBytes() +
         sizeof(int32_t) * batch_->probes.size() * static_cast<size_t>(limits_.layers);
}

absl::Status StepTables::FetchResults(cudaStream_t stream) {
  if (GateBytes() > 0) {
    RETURN_IF_ERROR(CudaStatus(
        cudaMemcpyAsync(host_gates(), place_.gates->data(), GateBytes(), cudaMemcpyDeviceToHost, stream),
        "fetching gates"));
  }
  return FetchRoutes(stream);
}

std::span<const float> StepTables::Gates(int record) const {
  return {host_gates() + record_begin_[record], record_begin_[record + 1] - record_begin_[record]};
}

}  // namespace hydrad
