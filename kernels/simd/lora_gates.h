// From a router's dots to gates, in f32 and in place: the rules of kernels/lora.h GateRule. Sums run in an
// order that depends on the values alone. NaN in, NaN out: a broken row is never served as if it had picked
// no expert.
#ifndef HYDRAD_KERNELS_SIMD_LORA_GATES_H_
#define HYDRAD_KERNELS_SIMD_LORA_GATES_H_

#include <limits>

#include "kernels/lora.h"
#include "kernels/simd/kernel_table.h"

namespace hydrad::simd {

// Sets all but the k largest of p [n] to 0, of equal ones keeping the first, and divides the others by their
// sum if `renormalize`.
inline void KeepLargest(float* p, int n, int k, bool renormalize) {
  float last = std::numeric_limits<float>::infinity(), sum = 0;
  int at = -1;
  const auto follows = [&](int e) { return p[e] < last || (p[e] == last && e > at); };
  for (int i = 0; i < k; ++i) {
    int best = -1;
    for (int e = 0; e < n; ++e) {
      if (follows(e) && (best < 0 || p[e] > p[best])) best = e;
    }
    if (best < 0) break;  // only NaN are left
    last = p[best], at = best;
    sum += last;
  }
  for (int e = 0; e < n; ++e) {
    if (follows(e)) p[e] = 0;
    if (renormalize) p[e] /= sum;
  }
}

// Sets those of p [n] that are below the threshold to 0, lowers the others by `off`, and divides by the sum
// of what is left, unless that is 0: then nobody is kept.
inline void KeepAbove(float* p, int n, float threshold, float off) {
  float sum = 0;
  for (int e = 0; e < n; ++e) sum += p[e] = p[e] < threshold ? 0 : p[e] - off;
  for (int e = 0; e < n && sum != 0; ++e) p[e] /= sum;
}

// Makes gates of the first `experts` numbers of u, which holds the dots of the member's router rows. `gate`
// is what the run makes of the member's own (GateOf in lora_plan.h); without a router u is left alone.
template <class T>
void Gate(const Table& table, const LoraMember<T>& m, const LoraGate& gate, float* u) {
  if (gate.rule == GateRule::kNone) return;
  const int router = RouterRows(gate, m.experts);
  for (int i = 0; m.router_bias && i < router; ++i) u[i] += m.router_bias[i];
  table.softmax(u, m.experts);
  if (gate.rule == GateRule::kTopK) KeepLargest(u, m.experts, gate.top_k, gate.renormalize);
  if (gate.rule == GateRule::kFixedThreshold) KeepAbove(u, m.experts, gate.threshold, 0);
  if (gate.rule == GateRule::kThreshold) {
    float pair[] = {u[m.experts], 0};
    table.softmax(pair, 2);  // the first is the sigmoid of the logit
    const float threshold = gate.threshold * pair[0];
    KeepAbove(u, m.experts, threshold, threshold);
  }
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_LORA_GATES_H_
