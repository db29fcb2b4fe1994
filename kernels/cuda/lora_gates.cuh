// From u = [R; A] x to z: what the last block of a tile does in the shrink kernel. A warp per row.
#ifndef HYDRAD_KERNELS_CUDA_LORA_GATES_CUH_
#define HYDRAD_KERNELS_CUDA_LORA_GATES_CUH_

#include "kernels/cuda/lora_work.cuh"

namespace hydrad::cuda {

// u of a tile's rows that one block has computed whole.
struct SharedU {
  const float* u;
  int stride;
  __device__ __forceinline__ float operator()(int row, int down) const { return u[row * stride + down]; }
};
// u as partial sums in global memory, added in order. They come from other blocks, so L1 is passed by.
struct GlobalU {
  const float* u;
  int64_t stride, split_stride;
  int splits;
  __device__ __forceinline__ float operator()(int row, int down) const {
    const float* at = u + row * stride + down;
    float sum = __ldcg(at);
    for (int s = 1; s < splits; ++s) sum += __ldcg(at + s * split_stride);
    return sum;
  }
};

// One routed member in one row: its logits, and what makes gates of them.
template <class U>
class RowGates {
 public:
  // All lanes call it together.
  __device__ RowGates(const LoraMember& member, const LoraGate& gate, const U& u, int row)
      : member_(member), gate_(gate), u_(u), row_(row) {
    if (gate_.rule == GateRule::kNone) return;
    const int lane = threadIdx.x % 32;
    float top = -INFINITY, sum = 0;
    for (int e = lane; e < member_.experts; e += 32) top = fmaxf(top, Logit(e));
    max_ = WarpMax(top);
    for (int e = lane; e < member_.experts; e += 32) sum += expf(Logit(e) - max_);
    sum_ = WarpSum(sum);
    if (gate_.rule == GateRule::kTopK) FindCut(lane);
    if (gate_.rule == GateRule::kFixedThreshold) threshold_ = gate_.threshold;
    if (gate_.rule == GateRule::kThreshold) {
      threshold_ = off_ = gate_.threshold / (1 + expf(-Logit(member_.experts)));
    }
    if (HasThreshold(gate_.rule) || (gate_.rule == GateRule::kTopK && gate_.renormalize)) {
      float kept = 0;
      for (int e = lane; e < member_.experts; e += 32) kept += Unscaled(e);
      norm_ = WarpSum(kept);
    }
  }

  __device__ float operator()(int expert) const {
    if (gate_.rule == GateRule::kNone) return 1;
    const float c = Unscaled(expert);
    return c > 0 ? c / norm_ : c;
  }

 private:
  __device__ float Logit(int e) const {
    const float x = u_(row_, member_.down_begin + e);
    return member_.router_bias != nullptr ? x + member_.router_bias[e] : x;
  }
  __device__ float Unscaled(int e) const {
    const float logit = Logit(e), p = expf(logit - max_) / sum_;
    if (HasThreshold(gate_.rule)) return p >= threshold_ ? p - off_ : 0;
    if (gate_.rule == GateRule::kTopK && Before(cut_, cut_expert_, logit, e)) return 0;
    return p;
  }
  // Larger logits first, then lower experts.
  __device__ static bool Before(float a, int a_expert, float b, int b_expert) {
    return a > b || (a == b && a_expert < b_expert);
  }
  // The top_k-th expert in that order.
  __device__ void FindCut(int lane) {
    cut_ = INFINITY;
    cut_expert_ = -1;
    for (int k = 0; k < gate_.top_k; ++k) {
      float best = -INFINITY;
      int expert = member_.experts;
      for (int e = lane; e < member_.experts; e += 32) {
        const float logit = Logit(e);
        if (Before(cut_, cut_expert_, logit, e) && Before(logit, e, best, expert)) best = logit, expert = e;
      }
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const float other = __shfl_xor_sync(kAllLanes, best, step);
        const int other_expert = __shfl_xor_sync(kAllLanes, expert, step);
        if (Before(other, other_expert, best, expert)) best = other, expert = other_expert;
      }
      cut_ = best;
      cut_expert_ = expert;
    }
  }

  const LoraMember& member_;
  const LoraGate gate_;
  const U& u_;
  const int row_;
  float max_ = 0, sum_ = 1, norm_ = 1, threshold_ = 0, off_ = 0, cut_ = 0;
  int cut_expert_ = 0;
};

// The expert that coefficient j belongs to.
__device__ __forceinline__ int ExpertOf(const LoraMember& m, int j) {
  int low = 0, high = m.experts - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (j < m.rank_begin[middle + 1]) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// The coefficients of one member in one row, zeros up to a multiple of 8 behind them, and the gate record.
template <class U>
__device__ void FormMemberRow(const LoraRun& run, const LoraMember& m, const U& u, int row, bf16* z,
                              float* gates) {
  const int lane = threadIdx.x % 32, count = m.rank_begin[m.experts];
  const RowGates<U> gate(m, WithTopK(m.gate, run.top_k, m.experts), u, row);
  const int a_begin = m.down_begin + RouterRows(m.gate, m.experts);
  for (int j = lane; j < RoundUp(count, 8); j += 32) {
    float value = 0;
    if (j < count) {
      const int e = ExpertOf(m, j);
      value = run.weight * m.scale[e] * gate(e) * u(row, a_begin + (m.shared_a ? j - m.rank_begin[e] : j));
    }
    Narrow(z[m.z_begin + j], value);
  }
  if (gates == nullptr || m.gate.rule == GateRule::kNone) return;
  for (int e = lane; e < m.experts; e += 32) gates[m.gate_begin + e] = gate(e);
}

inline constexpr int kGateMembers = 4;  // whose tables are in shared memory at a time
struct GateTables {
  Table<LoraMember> members[kGateMembers];
};

// z of a whole tile, by all threads together.
template <class U>
__device__ void FormZ(const LoraTables& tables, GateTables& gates, const U& u, const LoraScratch& scratch) {
  const LoraTile& tile = *tables.tile;
  const LoraRun& run = *tables.run;
  for (int first = 0; first < tables.group->member_count; first += kGateMembers) {
    const int count = min(kGateMembers, tables.group->member_count - first);
    __syncthreads();  // the members before have been read
    for (int m = 0; m < count; ++m) gates.members[m].Read(tables.group->members + first + m);
    __syncthreads();
    for (int i = threadIdx.x / 32; i < tile.rows * count; i += kLoraThreads / 32) {
      const int row = i % tile.rows, in_run = tile.row + row - run.row_begin;
      FormMemberRow(run, *gates.members[i / tile.rows], u, row,
                    scratch.z + int64_t{tile.row + row} * scratch.z_stride,
                    run.gates != nullptr ? run.gates + in_run * run.gates_stride : nullptr);
    }
  }
}

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_LORA_GATES_CUH_
