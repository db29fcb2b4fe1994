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

// Dots of x with the router's rows, and their bias.
template <class T>
std::vector<double> Logits(const LoraMember<T>& m, const LoraGroup<T>& group, const float* x) {
  std::vector<double> logits(RouterRows(m.gate, m.experts));
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = Dot(group.down + (m.down_begin + static_cast<int64_t>(i)) * group.in, x, group.in);
    if (m.router_bias) logits[i] += m.router_bias[i];
  }
  return logits;
}

std::vector<double> Softmax(std::vector<double> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& p : logits) sum += p = std::exp(p - max);
  for (double& p : logits) p /= sum;
  return logits;
}

std::vector<double> KeepLargest(const std::vector<double>& p, int k, bool renormalize) {
  std::vector<double> kept(p.size(), 0.0);
  std::vector<bool> taken(p.size());
  double sum = 0;
  for (int i = 0; i < k; ++i) {
    int best = -1;
    for (int e = 0; e < static_cast<int>(p.size()); ++e) {
      if (!taken[e] && (best < 0 || p[e] > p[best])) best = e;
    }
    taken[best] = true;
    sum += kept[best] = p[best];
  }
  for (double& c : kept) c = renormalize ? c / sum : c;
  return kept;
}

// Those from the threshold on, less `off`, divided by their sum.
std::vector<double> KeepAbove(const std::vector<double>& p, double threshold, double off) {
  std::vector<double> kept(p.size(), 0.0);
  double sum = 0;
  for (size_t e = 0; e < p.size(); ++e) {
    if (p[e] >= threshold) sum += kept[e] = p[e] - off;
  }
  for (double& c : kept) c = sum > 0 ? c / sum : 0;
  return kept;
}

template <class T>
std::vector<double> Gates(const LoraMember<T>& m, const LoraGroup<T>& group, int top_k, const float* x) {
  const LoraGate gate = WithTopK(m.gate, top_k, m.experts);
  if (gate.rule == GateRule::kNone) return std::vector<double>(m.experts, 1.0);
  std::vector<double> logits = Logits(m, group, x);
  if (gate.rule == GateRule::kThreshold) {
    const double threshold = gate.threshold / (1 + std::exp(-logits.back()));
    logits.pop_back();
    return KeepAbove(Softmax(std::move(logits)), threshold, threshold);
  }
  const std::vector<double> p = Softmax(std::move(logits));
  if (gate.rule == GateRule::kFixedThreshold) return KeepAbove(p, gate.threshold, 0);
  return gate.rule == GateRule::kTopK ? KeepLargest(p, gate.top_k, gate.renormalize) : p;
}

template <class T>
void AddMember(const LoraMember<T>& m, const LoraRun<T>& run, const std::vector<double>& gate, const float* x,
               float* y) {
  const LoraGroup<T>& group = *run.group;
  const int a_begin = m.down_begin + RouterRows(m.gate, m.experts);
  std::vector<double> change(m.out, 0.0);
  for (int e = 0; e < m.experts; ++e) {
    if (gate[e] == 0) continue;
    for (int i = m.rank_begin[e]; i < m.rank_begin[e + 1]; ++i) {
      const int a_row = a_begin + (m.shared_a ? i - m.rank_begin[e] : i);
      const double u = Dot(group.down + int64_t{a_row} * group.in, x, group.in);
      const T* up = m.up + int64_t{i} * m.out;
      for (int c = 0; c < m.out; ++c) change[c] += gate[e] * m.scale[e] * run.weight * u * ToFloat(up[c]);
    }
  }
  for (int c = 0; c < m.out; ++c) {
    double sum = y[m.out_begin + c] + change[c];
    if (m.out_scale) sum *= m.out_scale[c];
    if (m.out_bias) sum += double{run.weight} * m.out_bias[c];
    y[m.out_begin + c] = static_cast<float>(sum);
  }
}

template <class T>
void AddRow(const LoraRun<T>& run, int row, const float* x, float* y) {
  float* record = run.gates ? run.gates + row * run.gates_stride : nullptr;
  for (const LoraMember<T>& m : run.group->members) {
    const std::vector<double> gate = Gates(m, *run.group, run.top_k, x);
    if (record && m.gate.rule != GateRule::kNone) record = std::copy(gate.begin(), gate.end(), record);
    AddMember(m, run, gate, x, y);
  }
}

}  // namespace

template <class T>
void AddLora(Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs) {
  for (const LoraRun<T>& run : runs) {
    for (int r = run.row_begin; r < run.row_end; ++r) AddRow(run, r - run.row_begin, x.row(r), y.row(r));
  }
}

template void AddLora<bf16>(Mat<float>, Mat<const float>, std::span<const LoraRun<bf16>>);
template void AddLora<float>(Mat<float>, Mat<const float>, std::span<const LoraRun<float>>);

}  // namespace hydrad::ref
