// The low-rank change of one adapter to the projections that share an input (q/k/v, o, gate/up, down):
//
//   y_p[t] += sum over e of  c_p[t,e] * scale_e * B_{p,e} (A_{p,a(e)} x[t])
//
// with c as the member's gate says: 1 (LoRA), or a function of softmax(R x[t] + bias) in f32 over the experts
// (HydraLoRA, arXiv 2404.19245 eq. 3-4; LoRAMoE; MoLA; MoLE; AdaMoLE). One form for every family: see
// server/backend/adapter_weights.h.
//
// Shrink reads x once for all routers and all A of the group: u = D x, with D the stacked rows
// [R_q; A_q; R_k; A_k; ...]. Expand adds U_p^T z_p to the columns of each projection p, with z_p the gated,
// scaled copies of u. Where a gate picks some of its experts, the others' A (if they have their own) and B
// are neither read nor multiplied. Ranks are used as they are: nothing is padded.
#ifndef HYDRAD_KERNELS_LORA_H_
#define HYDRAD_KERNELS_LORA_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/types.h"

namespace hydrad {

namespace simd {
class Pool;
}

// How c[t,e] is decided, from p = softmax in f32 of the router rows' dots with x (plus their bias).
enum class GateRule : uint8_t {
  kNone,       // c = 1 for every expert; there is no router
  kSoftmax,    // c = p
  kTopK,       // c = p of the top_k largest (ties to the lower expert), divided by their sum if `renormalize`
  kThreshold,  // AdaMoLE: t = threshold * sigmoid(last router row); c = (p - t) / sum of those with p >= t
  kFixedThreshold  // MoLE: c = p of those with p >= threshold, divided by their sum
};
// Whether each row leaves some of the experts out.
constexpr bool LeavesOut(GateRule rule) { return rule >= GateRule::kTopK; }
constexpr bool HasThreshold(GateRule rule) { return rule >= GateRule::kThreshold; }

struct LoraGate {
  GateRule rule = GateRule::kNone;
  int top_k = 0;             // kTopK: at least 1; at least `experts` is as kSoftmax
  bool renormalize = false;  // kTopK
  float threshold = 0;       // kFixedThreshold; of kThreshold the largest
  bool operator==(const LoraGate&) const = default;
};

// The gate that a run's top_k (see LoraRun) makes of its adapter's, and how many rows of D are its router.
constexpr LoraGate WithTopK(LoraGate gate, int top_k, int experts) {
  if (gate.rule != GateRule::kSoftmax && gate.rule != GateRule::kTopK) return gate;
  if (top_k > 0) gate = {GateRule::kTopK, top_k, gate.rule == GateRule::kSoftmax || gate.renormalize, 0};
  if (gate.rule == GateRule::kTopK && gate.top_k >= experts) gate = {GateRule::kSoftmax};
  return gate;
}
constexpr int RouterRows(const LoraGate& gate, int experts) {
  if (gate.rule == GateRule::kNone) return 0;
  return gate.rule == GateRule::kThreshold ? experts + 1 : experts;
}

// One projection of the group. Its rows of D: the router's (one per expert, and for kThreshold the
// threshold's), then A (the rank's rows when all experts share A, else each expert's, one after the other).
template <class T>
struct LoraMember {
  int down_begin;             // first row in LoraGroup::down
  int out_begin, out;         // columns of y
  int experts;                // at least 1
  const int32_t* rank_begin;  // [experts + 1] ascending from 0: expert e has the coefficients from
                              // rank_begin[e] to rank_begin[e+1]; equally many each if shared_a
  LoraGate gate;
  bool shared_a;             // one A for all experts
  const float* scale;        // [experts]
  const float* router_bias;  // [router rows] or null
  const T* up;               // [rank_begin[experts], out]: row rank_begin[e]+j is column j of B_e
  const float* out_scale;    // [out] or null (1), and
  const float* out_bias;     // [out] or null (0): y = out_scale * (y + U^T z) + weight * out_bias. DoRA, a
                             // bias of lora_B
};

// What an adapter has for the projections that share an input. It is a view: the backend that packed the
// adapter owns what it points to, and keeps it while a run uses it.
template <class T>
struct LoraGroup {
  const T* down;      // [down_rows, in], the D of above
  int down_rows, in;  // of all members together; columns of x
  std::span<const LoraMember<T>> members;
};

// Consecutive rows of the batch that use the same adapter generation in the same way. Rows without an adapter
// are in no run.
template <class T>
struct LoraRun {
  int row_begin, row_end;
  const LoraGroup<T>* group;
  float weight = 1;  // of the change; 1 where a member has out_scale
  int top_k = 0;     // 0: gates as the adapter says; k: its softmax gates keep the k largest, renormalised,
                     // and its top-k gates keep k
  float* gates =
      nullptr;  // [rows, gates_stride] where c goes, the group's routed members side by side; null: nowhere
  int64_t gates_stride = 0;  // elements
};

// Adds the change of every run to its rows of y; other rows are untouched. A row's result depends on the row,
// its adapter, weight and top_k alone, not on the runs around it (server/README.md). There are no errors: a
// router that gives NaN makes the row NaN, never what the base alone would answer.
// `scratch` is 64-byte aligned and at least LoraScratchBytes long; unspecified afterwards.
// REQUIRES: runs ascend and do not overlap; y and x do not overlap; x has `in` columns.
template <class T>
size_t LoraScratchBytes(std::span<const LoraRun<T>> runs);

namespace ref {
template <class T>  // bf16 or float; sums in double
void AddLora(Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs);
}
namespace simd {
template <class T>
void AddLora(Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
             std::span<std::byte> scratch);
}

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_LORA_H_
