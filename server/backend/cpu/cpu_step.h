// What the CPU backend works out once per step and every layer then reads: kernels' views of the batch.
#ifndef HYDRAD_SERVER_BACKEND_CPU_CPU_STEP_H_
#define HYDRAD_SERVER_BACKEND_CPU_CPU_STEP_H_

#include <span>
#include <vector>

#include "kernels/attention.h"
#include "kernels/lora.h"
#include "server/backend/cpu/packed_adapter.h"
#include "server/backend/device_adapters.h"
#include "server/backend/expert_router.h"
#include "server/backend/step.h"

namespace hydrad {

// Owned by the scheduler thread. Its vectors grow to the largest step and then stay.
template <class T>  // element type of adapters, bf16 or float
class CpuStep {
 public:
  // Looks adapters, which are PackedAdapter<T>, and routers up in `held`, which must outlive it.
  explicit CpuStep(const DeviceAdapters& held) : held_(held) {}

  // Plans `batch`, which must outlive the step.
  void Begin(const Batch& batch, std::span<const double> inv_freq);

  const Batch& batch() const { return *batch_; }
  std::span<const AttentionSegment> segments() const { return segments_; }
  // [rows, head_dim], see kernels/elementwise.h Rope.
  Mat<const float> cos_sin() const { return cos_sin_; }
  size_t terms() const { return batch_->terms(); }
  // The runs of a term (see Batch::runs) whose adapter changes the group in the layer. Valid until the next
  // call.
  std::span<const LoraRun<T>> runs(size_t term, int layer, ProjectionGroup group);
  // See Backend::Gates.
  std::span<const float> gates(int record) const;
  // [runs of the batch] what each changes at the ends of the network; null where nothing.
  std::span<const Vocabulary<T>* const> ends() const { return ends_; }
  // How many tokens row `index` of the logits is of; `base` unless an adapter says otherwise.
  int vocab(int index, int base) const {
    const int own = vocabs_.empty() ? 0 : vocabs_[static_cast<size_t>(index)];
    return own > 0 ? own : base;
  }

  const Router& router(size_t probe) const { return *probes_[probe].router; }
  // [choices] of the probe in the layer.
  std::span<double> sums(size_t probe, int layer);
  // What the router of a probe that decides has chosen for the layer.
  void Pick(size_t probe, int layer, int choice);
  // See Backend::Routes.
  Routed routed(size_t probe) const;

 private:
  struct Probe {
    const Router* router;
    size_t picks_begin;  // in picks_
  };

  const PackedAdapter<T>& Packed(int32_t slot) const {
    return static_cast<const PackedAdapter<T>&>(held_.adapter(slot));
  }
  void LookUp();
  void PlaceRecords();
  void CountTokens();
  const PackedAdapter<T>& AdapterOf(const Batch::Run& run, int layer) const;
  LoraRun<T> MakeRun(const Batch::Run& run, int layer, ProjectionGroup group);

  const DeviceAdapters& held_;

  const Batch* batch_ = nullptr;
  std::vector<AttentionSegment> segments_;
  std::vector<float> cos_sin_values_;
  Mat<float> cos_sin_{};
  std::vector<LoraRun<T>> runs_;
  std::vector<float> gates_;                             // the records, one after the other
  std::vector<size_t> record_begin_;                     // [records + 1] into gates_
  std::vector<const PackedAdapter<T>*> adapters_;        // [runs of the batch]
  std::vector<const PackedAdapter<T>*> layer_adapters_;  // of Batch::layer_adapters
  std::vector<const Vocabulary<T>*> ends_;               // [runs of the batch]
  std::vector<int> vocabs_;     // [logit rows] tokens of each, 0: the base's; empty: of all
  std::vector<Probe> probes_;   // [probes of the batch]
  std::vector<double> sums_;    // Batch::probe_sums, added to
  std::vector<int32_t> picks_;  // [layers] of each probe
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_CPU_STEP_H_
