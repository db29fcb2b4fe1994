// The truth of kernels/lora.h: one row, one projection and one expert at a time, sums in double.
#include "kernels/lora.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace hydrad::ref {
namespace {

template <class T>
double Dot(const T* d, const float* x, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += double{ToFloat(d[i])} * x[i];
  return sum;
}

template <class T>
std::vector<double> Gates(const LoraMember<T>& m, const LoraGroup<T>& group, const float* x) {
  std::vector<double> gate(m.experts, 1.0);
  if (!m.routed) return gate;
  double max = -INFINITY, sum = 0;
  for (int e = 0; e < m.experts; ++e) {
    gate[e] = Dot(group.down + int64_t{m.down_begin + e} * group.in, x, group.in);
    if (m.router_bias) gate[e] += m.router_bias[e];
    max = std::max(max, gate[e]);
  }
  for (double& g : gate) sum += g = std::exp(g - max);
  for (double& g : gate) g /= sum;
  return gate;
}

template <class T>
void AddMember(const LoraMember<T>& m, const LoraGroup<T>& group, const float* x, float* y) {
  const std::vector<double> gate = Gates(m, group, x);
  const int a_begin = m.down_begin + (m.routed ? m.experts : 0);
  std::vector<double> change(m.out, 0.0);
  for (int e = 0; e < m.experts; ++e) {
    for (int j = 0; j < m.rank; ++j) {
      const int a_row = a_begin + (m.shared_a ? j : e * m.rank + j);
      const double u = Dot(group.down + int64_t{a_row} * group.in, x, group.in);
      const T* up = m.up + int64_t{e * m.rank + j} * m.out;
      for (int c = 0; c < m.out; ++c) change[c] += gate[e] * m.scale[e] * u * ToFloat(up[c]);
    }
  }
  for (int c = 0; c < m.out; ++c) y[m.out_begin + c] = static_cast<float>(y[m.out_begin + c] + change[c]);
}

}  // namespace

template <class T>
void AddLora(Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs) {
  for (const LoraRun<T>& run : runs) {
    for (int r = run.row_begin; r < run.row_end; ++r) {
      for (const LoraMember<T>& m : run.group->members) AddMember(m, *run.group, x.row(r), y.row(r));
    }
  }
}

template void AddLora<bf16>(Mat<float>, Mat<const float>, std::span<const LoraRun<bf16>>);
template void AddLora<float>(Mat<float>, Mat<const float>, std::span<const LoraRun<float>>);

}  // namespace hydrad::ref
