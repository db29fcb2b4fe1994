// From u = [R; A] x to z: what the last block of a tile does in the shrink kernel, once all of the tile's u
// is there. The rules of gates are those of kernels/lora.h (GateRule), in f32; z is rounded to bf16 once. A
// warp does one row of one member, in a fixed order of sums, so that a row's gates depend on its own u alone.
//
// All functions are for blocks of kLoraThreads threads. U is one of the two readers of u below.
#ifndef HYDRAD_KERNELS_CUDA_LORA_GATES_CUH_
#define HYDRAD_KERNELS_CUDA_LORA_GATES_CUH_

#include "kernels/cuda/lora_work.cuh"

namespace hydrad::cuda {

// Reads u of a tile's rows that one block has computed whole. Rows count from the tile's first.
struct SharedU {
  const float* u;  // [tile rows, stride] in shared memory
  int stride;
  __device__ __forceinline__ float operator()(int row, int down) const { return u[row * stride + down]; }
};
// Reads u that stands as partial sums in device memory and adds them in the order of the splits. They come
// from other blocks, so the loads go past the first-level cache, which may hold what was there before.
struct GlobalU {
  const float* u;  // [splits, split_stride] of rows, `stride` apart
  int64_t stride, split_stride;
  int splits;
  __device__ __forceinline__ float operator()(int row, int down) const {
    const float* at = u + row * stride + down;
    float sum = __ldcg(at);
    for (int s = 1; s < splits; ++s) sum += __ldcg(at + s * split_stride);
    return sum;
  }
};

// The gates of one member in one row. A member without a router has gates of 1. Every lane has the same
// object, and may ask for any expert.
template <class U>
class RowGates {
 public:
  // Reads the member's logits. All lanes of a warp call it together, with the same arguments. `gate` is the
  // member's as the run uses it (WithTopK). What is referred to must outlive the object.
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

  // Returns c of the formula: 0 for an expert that is left out, also where none reaches the threshold.
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
  // The gate before it is divided by the sum of those that are kept.
  __device__ float Unscaled(int e) const {
    const float logit = Logit(e), p = expf(logit - max_) / sum_;
    if (HasThreshold(gate_.rule)) return p >= threshold_ ? p - off_ : 0;
    if (gate_.rule == GateRule::kTopK && Before(cut_, cut_expert_, logit, e)) return 0;
    return p;
  }
  // Whether a comes before b: larger logits first, then lower experts.
  __device__ static bool Before(float a, int a_expert, float b, int b_expert) {
    return a > b || (a == b && a_expert < b_expert);
  }
  // Finds the top_k-th expert in that order, by as many scans of the logits.
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

// Returns the expert that coefficient j belongs to. REQUIRES: 0 <= j < rank_begin[experts].
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

// Writes the coefficients of one member in one row, with zeros up to a multiple of 8 behind them, and the
// member's gates to its place in `gates`, unless that is null. A warp calls it together. `row` is u's, `z`
// begins the row of LoraScratch::z, and `gates` the row of the run's record.
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

// Writes z of a whole tile, and its rows of the gate record. All threads of the block call it together; it
// has barriers of its own before it reads the members, none after.
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
