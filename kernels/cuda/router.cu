// The routers that pick one expert per sequence: a block per probe, a warp per expert, rows one after the
// other.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    ProbeKernel(const RouterProbe* probes, const int32_t* count, Mat<const float> x) {
  if (static_cast<int>(blockIdx.x) >= *count) return;
  const RouterProbe& probe = probes[blockIdx.x];
  const int lane = threadIdx.x % 32;
  for (int e = threadIdx.x / 32; e < probe.experts; e += kThreads / 32) {
    const float* router = probe.router[e];
    double sum = probe.sums[e];
    for (int r = probe.row_begin; r < probe.row_end; ++r) {
      const float* row = x.row(r);
      double dot = 0;
      for (int i = lane; i < x.cols; i += 32) dot = fma(double{router[i]}, double{row[i]}, dot);
      sum += WarpSum(dot);
    }
    __syncwarp();
    if (lane == 0) probe.sums[e] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0 || probe.chosen == nullptr) return;
  int best = 0;
  double most = -INFINITY;
  for (int e = 0; e < probe.experts; ++e) {
    const double logit = probe.sums[e] / probe.pooled + (probe.bias != nullptr ? probe.bias[e] : 0);
    if (logit > most) most = logit, best = e;
  }
  *probe.chosen = probe.choices[best];
  if (probe.choice != nullptr) *probe.choice = best;
}

}  // namespace

cudaError_t ProbeRouters(const RouterProbe* probes, const int32_t* count, int at_most, Mat<const float> x,
                         cudaStream_t stream) {
  if (at_most == 0) return cudaSuccess;
  return Launch(ProbeKernel, at_most, kThreads, 0, stream, probes, count, x);
}

}  // namespace hydrad::cuda
