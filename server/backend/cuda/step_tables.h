// A step's metadata on the device: one block, filled in pinned memory and copied once; and what comes back of
// it, copied into pinned memory.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_STEP_TABLES_H_
#define HYDRAD_SERVER_BACKEND_CUDA_STEP_TABLES_H_

#include <array>
#include <compare>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/cuda/kernels.h"
#include "server/backend/cuda/cuda_handles.h"
#include "server/backend/cuda/device_adapter.h"
#include "server/backend/cuda/device_memory.h"
#include "server/backend/step.h"

namespace hydrad {

// Which ends of the network a step's adapters change; what they do not change costs no launch. The launches
// of a recorded step depend on these, so that steps with different ends are recorded apart.
struct StepEnds {
  bool embedding = false;   // rows of the embedding, or its LoRA
  bool own_logits = false;  // rows of lm_head
  bool head_lora = false;   // the LoRA of lm_head
  auto operator<=>(const StepEnds&) const = default;
};

// Where the tables of one step after the other lie on the device. It belongs to the backend and outlives the
// StepTables that share it.
struct StepPlace {
  std::unique_ptr<Buffer> tables;  // null after a step that was too large for the device
  std::unique_ptr<Buffer> gates;   // likewise, and before a step records any
};

// The tables of one step at a time. A step goes Plan (or PlanAhead), Send, the launches with the addresses
// below, FetchResults, and, once the stream has run that, Routes and Gates. While it runs, another StepTables
// in the same place plans the next one, in host memory of its own. What kernels are launched with stays the
// same from step to step unless Plan says otherwise, so that a recorded launch finds the step at hand. Owned
// by the scheduler thread.
class StepTables {
 public:
  // `place` is made as large as most steps need, if it is empty, and grows with steps that need more.
  // `partials` is the room for partial results of attention, `regroup_products` that of CudaBackendOptions.
  // Adapters, which are CudaAdapters, and routers are looked up in `held`, which must outlive the tables, as
  // must `place` and `memory`. RESOURCE_EXHAUSTED where memory is lacking.
  static absl::StatusOr<std::unique_ptr<StepTables>> Make(DeviceMemory& memory, StepPlace& place,
                                                          const DeviceAdapters& held,
                                                          const StepLimits& limits, int partials,
                                                          int64_t regroup_products);

  // Plans `batch`, padded to `rows` rows; what a step that is `recorded` launches depends on its form alone.
  // Returns whether addresses have changed: the block table of a step may be longer than any before. An error
  // says nothing about addresses: take them as changed. REQUIRES: no step is under way.
  absl::StatusOr<bool> Plan(const Batch& batch, int rows, bool recorded);
  // Likewise while another step runs. Returns whether it is planned: not where the place must grow for it.
  // REQUIRES: the step of these tables is over.
  absl::StatusOr<bool> PlanAhead(const Batch& batch, int rows, bool recorded);
  // Puts what was planned on its way on `stream`, with the tokens that are in the batch now, and makes the
  // stream wait for the uploads of the adapters that the batch uses. REQUIRES: the batch that was planned is
  // still there.
  absl::Status Send(cudaStream_t stream);

  // Addresses on the device, for the launches of the step. A row by which the batch was padded is token 0 at
  // position 0 with slot -1, so that its K and V are not kept.
  const int32_t* tokens() const { return At<int32_t>(0); }
  const int32_t* positions() const { return At<int32_t>(Column(1)); }
  const int32_t* slots() const { return At<int32_t>(Column(2)); }
  const int32_t* logit_rows() const { return At<int32_t>(Column(3)); }
  const cuda::AttentionPlan* attention() const { return At<cuda::AttentionPlan>(Column(4)); }
  // The plan of all runs of a term of the batch (Batch::term). `term` is below terms(), here and below.
  const cuda::LoraPlan* lora(size_t term) const { return At<cuda::LoraPlan>(lora_begin_[term]); }
  size_t terms() const { return lora_begin_.size(); }

  // Whether runs of the term are regrouped by their gates' picks in groups of this kind: then `regrouped` has
  // them, and `rest` the others, null if there are none.
  bool regroups(size_t term, ProjectionGroup kind) const {
    return regrouped_[term].kinds[static_cast<size_t>(kind)];
  }
  const cuda::LoraPlan* regrouped(size_t term) const { return At<cuda::LoraPlan>(regrouped_[term].begin); }
  const cuda::LoraPlan* rest(size_t term) const {
    return regrouped_[term].rest_begin == 0 ? nullptr : At<cuda::LoraPlan>(regrouped_[term].rest_begin);
  }

  StepEnds ends() const { return ends_; }
  const cuda::VocabularyPlan* vocabulary() const { return At<cuda::VocabularyPlan>(VocabularyPlace()); }
  // The LoRA of lm_head, over the logit rows. Only terms with runs that have any are counted: `i` is below
  // head_terms() and no index of a term of the batch.
  const cuda::LoraPlan* head_lora(size_t i) const { return At<cuda::LoraPlan>(head_begin_[i]); }
  size_t head_terms() const { return head_begin_.size(); }

  // The batch's probes (Batch::probes) at `layer`, and how many they are.
  const cuda::RouterProbe* probes(int layer) const {
    return At<cuda::RouterProbe>(probes_begin_) + layer * probes_;
  }
  const int32_t* probe_count() const { return At<int32_t>(probe_count_begin_); }
  int probes() const { return probes_; }

  // Enqueues the copies of what the step's ops give, gates and routes. REQUIRES: the ops are on `stream`.
  absl::Status FetchResults(cudaStream_t stream);
  // What has come back, as Backend::Routes and Backend::Gates return it; valid until another step is planned
  // here. The batch may be gone. REQUIRES: `stream` has run what FetchResults put there.
  Routed Routes(size_t probe) const;
  std::span<const float> Gates(int record) const;

 private:
  StepTables(DeviceMemory& memory, StepPlace& place, const DeviceAdapters& held, const StepLimits& limits,
             int partials, int64_t regroup_products)
      : memory_(memory),
        place_(place),
        held_(held),
        limits_(limits),
        partials_(partials),
        regroup_products_(regroup_products) {}

  template <class V>
  V* At(size_t offset) const {
    return reinterpret_cast<V*>(static_cast<std::byte*>(place_.tables->data()) + offset);
  }
  size_t Column(int i) const { return static_cast<size_t>(i) * column_bytes_; }
  size_t FixedBytes() const;
  size_t LoraPlace() const;
  size_t VocabularyPlace() const;
  size_t HeadPlace() const;

  void LookUp(const Batch& batch);
  // Of a run of the batch at hand; where its layers differ, that of any of them.
  const CudaAdapter& AdapterOf(const Batch::Run& run) const {
    return *adapters_[static_cast<size_t>(&run - batch_->runs.data())];
  }
  template <class Use>
  void ForEachAdapter(const Batch::Run& run, Use use) const;
  DeviceEnds EndsOf(const Batch::Run& run) const;
  using ByKind = std::array<int64_t, kProjectionGroups>;
  ByKind ZerosOf(const Batch::Run& run) const;

  void Look(const Batch& batch, bool recorded);
  bool Fits(size_t bytes) const;
  absl::Status Grow(size_t bytes);
  absl::Status Write(const Batch& batch, int rows);
  size_t BytesFor(const Batch& batch) const;
  static size_t LoraBytes(size_t runs, int rows);
  size_t EndsBytes(const Batch& batch) const;
  void PlaceRecords(const Batch& batch);
  size_t GateBytes() const { return sizeof(float) * record_begin_.back(); }
  size_t ResultBytes() const;
  absl::Status AwaitAdapters(const Batch& batch, cudaStream_t stream) const;
  void WriteRows(const Batch& batch, int rows);
  void WriteAttention(const Batch& batch);
  void WriteAdapters(const Batch& batch);
  size_t PutLora(cuda::LoraPlan plan, std::span<const cuda::LoraRun> runs, int rows, size_t place);
  bool AnyToRegroup(std::span<const Batch::Run> runs) const;
  void WriteRegrouped(std::span<const Batch::Run> runs, int rows);
  void WriteEnds(const Batch& batch);
  void WriteVocabulary(const Batch& batch);
  void WriteHeadLora(const Batch& batch);
  cuda::LoraRun MakeRun(const Batch::Run& run);
  const cuda::LoraGroup** PutByLayer(const Batch::Run& run);
  void WriteProbes(const Batch& batch);
  void WriteProbe(size_t index, std::span<cuda::RouterProbe> by_layer);
  size_t ProbeBytes() const;
  absl::Status FetchRoutes(cudaStream_t stream);
  // Of the results, on the host: sums, gates, picks.
  double* host_sums() const { return reinterpret_cast<double*>(results_.data()); }
  float* host_gates() const { return reinterpret_cast<float*>(host_sums() + sum_count_); }
  int32_t* host_picks() const { return reinterpret_cast<int32_t*>(host_gates() + record_begin_.back()); }
  template <class V>
  void PutAt(size_t offset, std::span<const V> values) {
    if (!values.empty()) std::memcpy(host_.data() + offset, values.data(), values.size_bytes());
  }
  // Returns where the device will have them.
  template <class V>
  V* Put(std::span<const V> values) {
    const size_t offset = used_;
    used_ += (values.size_bytes() + 15) / 16 * 16;
    PutAt(offset, values);
    return At<V>(offset);
  }

  DeviceMemory& memory_;
  StepPlace& place_;
  const DeviceAdapters& held_;
  const StepLimits limits_;
  const int partials_;
  const int64_t regroup_products_;
  size_t column_bytes_ = 0;  // of one column of fixed place

  PinnedBuffer host_;  // as place_.tables will be
  size_t used_ = 0;    // bytes of it
  PinnedBuffer results_;

  std::vector<size_t> lora_begin_;  // of each term's plan; the first has a fixed place
  std::vector<size_t> head_begin_;  // likewise
  struct Regrouped {
    size_t begin = 0, rest_begin = 0;
    std::array<bool, kProjectionGroups> kinds{};
  };
  std::vector<Regrouped> regrouped_;  // of each term
  bool may_regroup_ = false;
  StepEnds ends_;
  std::vector<cuda::AttentionItem> items_;
  std::vector<cuda::AttentionMerge> merges_;
  std::vector<cuda::LoraRun> runs_;
  std::vector<cuda::LoraTile> tiles_;

  // Of the batch at hand, and what its slots stand for.
  const Batch* batch_ = nullptr;
  std::vector<const CudaAdapter*> adapters_;        // [runs]
  std::vector<const CudaAdapter*> layer_adapters_;  // of Batch::layer_adapters
  std::vector<const Router*> routers_;              // [probes]

  int probes_ = 0;
  size_t probes_begin_ = 0, probe_count_begin_ = 0;
  struct Probe {
    const cuda::LoraGroup** chosen = nullptr;  // [layers] of the run that it decides, on the device
    const double* sums = nullptr;              // on the device
    const int32_t* picks = nullptr;            // [layers] on the device; null where it does not decide
    size_t sums_begin = 0, sum_count = 0;      // into the batch's probe_sums
  };
  std::vector<Probe> probed_;               // [probes]
  size_t sum_count_ = 0;                    // of the batch's probe_sums; the batch may go before the results
  std::vector<size_t> record_begin_ = {0};  // [records + 1] into place_.gates, in numbers
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_STEP_TABLES_H_
