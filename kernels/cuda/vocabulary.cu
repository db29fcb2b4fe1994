// What adapters change at the embedding and at lm_head.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kRows = 8;  // of x that a warp multiplies with one row of lm_head at a time

// The adapter's own row of a token, -1 if it has none.
__device__ int FindRow(const OwnRows& own, int token) {
  if (own.tokens == nullptr) return token < own.count ? token : -1;
  int low = 0, high = own.count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (own.tokens[middle] < token) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < own.count && own.tokens[low] == token ? low : -1;
}

// A block per row. Each thread owns its columns, so that one run's change is there for the next.
__global__ void __launch_bounds__(kThreads)
    AdaptEmbeddingKernel(Mat<float> x, const int32_t* tokens, const VocabularyPlan* plan) {
  const int row = blockIdx.x;
  float* to = x.row(row);
  for (int i = 0; i < plan->embedding_count; ++i) {
    const VocabularyRun& run = plan->embedding[i];
    if (row < run.row_begin || row >= run.row_end) continue;
    const int token = tokens[row], own = FindRow(run.own, token);
    for (int c = threadIdx.x; c < x.cols; c += kThreads) {
      float value = own >= 0 ? Widen(run.own.rows[int64_t{own} * x.cols + c]) : to[c];
      float change = 0;
      for (int j = 0; run.a != nullptr && j < run.rank; ++j) {
        change =
            fmaf(Widen(run.a[int64_t{token} * run.rank + j]), Widen(run.up[int64_t{j} * x.cols + c]), change);
      }
      value = fmaf(run.scale, change, value);
      if (run.a != nullptr && run.out_scale != nullptr) value *= run.out_scale[c];
      if (run.a != nullptr && run.out_bias != nullptr) value = fmaf(run.weight, run.out_bias[c], value);
      to[c] = value;
    }
  }
}

// Up to kRows rows of x times one row of lm_head: a vector of k per lane.
__device__ void DotRows(Mat<const bf16> x, int row_begin, int rows, const bf16* weights, bool fast,
                        float (&sum)[kRows]) {
  const int lane = threadIdx.x % 32, step = fast ? 8 : 1;
  for (int k = lane * step; k < x.cols; k += 32 * step) {
    float w[8], v[8];
    if (fast) {
      Load8(w, weights + k);
    } else {
      w[0] = Widen(weights[k]);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows) break;
      const bf16* from = x.row(row_begin + r) + k;
      if (!fast) {
        sum[r] = fmaf(w[0], Widen(*from), sum[r]);
        continue;
      }
      Load8(v, from);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum[r] = fmaf(w[i], v[i], sum[r]);
    }
  }
}

// Warps walk the rows of lm_head of one run after the other.
__global__ void __launch_bounds__(kThreads)
    OwnLogitsKernel(Mat<float> logits, Mat<const bf16> x, const VocabularyPlan* plan) {
  const int lane = threadIdx.x % 32;
  for (int i = 0; i < plan->head_count; ++i) {
    const VocabularyRun& run = plan->head[i];
    const bool fast = x.cols % 8 == 0 && RowsAligned16(x) && Aligned16(run.own.rows);
    for (int n = blockIdx.x * kWarps + threadIdx.x / 32; n < run.own.count; n += gridDim.x * kWarps) {
      const int token = run.own.tokens != nullptr ? run.own.tokens[n] : n;
      for (int begin = run.row_begin; begin < run.row_end; begin += kRows) {
        const int rows = min(kRows, run.row_end - begin);
        float sum[kRows] = {};
        DotRows(x, begin, rows, run.own.rows + int64_t{n} * x.cols, fast, sum);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float total = WarpSum(sum[r]);
          if (lane == 0 && r < rows) logits.row(begin + r)[token] = total;
        }
      }
    }
  }
}

}  // namespace

cudaError_t AdaptEmbedding(Mat<float> x, const int32_t* tokens, const VocabularyPlan* plan,
                           cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return Launch(AdaptEmbeddingKernel, x.rows, kThreads, 0, stream, x, tokens, plan);
}

cudaError_t OwnLogits(Mat<float> logits, Mat<const bf16> x, const VocabularyPlan* plan, int blocks,
                      cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return Launch(OwnLogitsKernel, blocks, kThreads, 0, stream, logits, x, plan);
}

}  // namespace hydrad::cuda
