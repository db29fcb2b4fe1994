// The low-rank change of one adapter to the projections that share an input (q/k/v, o, gate/up, down):
//
//   y_p[t] += sum over e of  c_p[t,e] * scale_e * B_{p,e} (A_{p,a(e)} x[t])
//
// with c = 1 (LoRA) or c = softmax(R x[t] + bias) in f32 over the experts (HydraLoRA, arXiv 2404.19245 eq.
// 3-4; LoRAMoE). One form for every family: see server/backend/adapter_weights.h.
//
// Two passes. Shrink reads x once for all routers and all A of the group: u = D x, with D the stacked rows
// [R_q; A_q; R_k; A_k; ...]. Expand adds U_p^T z_p to the columns of each projection p, with z_p the gated,
// scaled copies of u. Ranks are used as they are: nothing is padded.
#ifndef HYDRAD_KERNELS_LORA_H_
#define HYDRAD_KERNELS_LORA_H_

#include <cstddef>
#include <span>

#include "kernels/types.h"

namespace hydrad {

namespace simd {
class Pool;
}

// One projection of the group. Rows of D: `experts` router rows if routed, then A (rank rows when all
// experts share A, else experts * rank rows, expert by expert).
template <class T>
struct LoraMember {
  int down_begin;            // first row in LoraGroup::down
  int out_begin, out;        // columns of y
  int experts, rank;         // rank of each expert
  bool routed;               // gate = softmax(R x + router_bias), else every gate is 1
  bool shared_a;             // one A for all experts
  const float* scale;        // [experts]
  const float* router_bias;  // [experts] or null
  const T* up;               // [experts * rank, out]: row e*rank+j is column j of B_e
};

template <class T>
struct LoraGroup {
  const T* down;  // [down_rows, in]
  int down_rows, in;
  std::span<const LoraMember<T>> members;
};

// Consecutive rows of the batch that use the same adapter generation. Rows without an adapter are in no run.
template <class T>
struct LoraRun {
  int row_begin, row_end;
  const LoraGroup<T>* group;
};

// Adds the change of every run to its rows of y; other rows are untouched. A row's result depends on the row
// and its adapter alone, not on the runs around it (design.md 5.1).
// `scratch` is 64-byte aligned and at least LoraScratchBytes long; unspecified afterwards.
// REQUIRES: runs ascend and do not overlap.
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
