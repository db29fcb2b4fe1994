// What every variant of kernels/lora.h is tested on: adapters of every family and shape, and how far from the
// reference a result may be.
#ifndef HYDRAD_TESTS_KERNELS_LORA_CASES_H_
#define HYDRAD_TESTS_KERNELS_LORA_CASES_H_

#include <algorithm>
#include <deque>
#include <numeric>

#include "kernels/lora.h"
#include "tests/kernels/cases.h"

namespace hydrad {

struct MemberSpec {
  int out;
  std::vector<int> ranks;  // one per expert
  LoraGate gate{};
  bool shared_a = false, bias = false, out_scale = false, out_bias = false;
};

// An adapter's weights for one group, with the memory they view.
template <class T>
class LoraAdapter {
 public:
  LoraAdapter(int in, const std::vector<MemberSpec>& specs, uint64_t seed, float size = 0.3) {
    int rows = 0, out_begin = 0;
    for (const MemberSpec& s : specs) {
      const int experts = static_cast<int>(s.ranks.size()), router = RouterRows(s.gate, experts);
      std::vector<int32_t>& begin = ranks_.emplace_back(1, 0);
      for (int rank : s.ranks) begin.push_back(begin.back() + rank);
      LoraMember<T> m{};
      m.down_begin = rows;
      m.out_begin = out_begin;
      m.out = s.out;
      m.experts = experts;
      m.rank_begin = begin.data();
      m.gate = s.gate;
      m.shared_a = s.shared_a;
      m.scale = Floats(experts, ++seed, 1);
      m.router_bias = s.bias ? Floats(router, ++seed, 1) : nullptr;
      m.out_scale = s.out_scale ? Floats(s.out, ++seed, 1) : nullptr;
      m.out_bias = s.out_bias ? Floats(s.out, ++seed, 1) : nullptr;
      ups_.push_back(Matrix<T>::Random(begin.back(), s.out, ++seed, size));
      m.up = ups_.back().view().data;
      members_.push_back(m);
      rows += router + (s.shared_a ? begin[1] : begin.back());
      out_begin += s.out;
    }
    down_ = std::make_unique<Matrix<T>>(Matrix<T>::Random(rows, in, ++seed, size));
    group_ = {down_->view().data, rows, in, members_};
    out_ = out_begin;
  }
  LoraAdapter(const LoraAdapter&) = delete;
  LoraAdapter& operator=(const LoraAdapter&) = delete;

  const LoraGroup<T>& group() const { return group_; }
  int out() const { return out_; }

  // NaN for every number of an expert's own A and of its B.
  void SpoilExpert(int member, int expert) {
    const LoraMember<T>& m = members_[member];
    const int a = m.down_begin + RouterRows(m.gate, m.experts);
    for (int i = m.rank_begin[expert]; i < m.rank_begin[expert + 1]; ++i) {
      for (int c = 0; c < m.out; ++c) Put(ups_[member].view().row(i)[c], NAN);
      for (int k = 0; !m.shared_a && k < group_.in; ++k) Put(down_->view().row(a + i)[k], NAN);
    }
  }

 private:
  const float* Floats(int count, uint64_t seed, float size) {
    return floats_.emplace_back(Matrix<float>::Random(1, count, seed, size)).view().data;
  }

  std::deque<Matrix<float>> floats_;
  std::deque<Matrix<T>> ups_;
  std::deque<std::vector<int32_t>> ranks_;
  std::vector<LoraMember<T>> members_;
  std::unique_ptr<Matrix<T>> down_;
  LoraGroup<T> group_;
  int out_;
};

// The sum of the absolute values of every product that makes up element c of a row's change, gates taken as
// 1: what f32 rounding is relative to.
template <class T>
std::vector<double> Magnitude(const LoraRun<T>& run, const float* x, int out) {
  const LoraGroup<T>& group = *run.group;
  std::vector<double> sum(out, 0.0);
  for (const LoraMember<T>& m : group.members) {
    const int a_begin = m.down_begin + RouterRows(m.gate, m.experts);
    for (int e = 0; e < m.experts; ++e) {
      for (int i = m.rank_begin[e]; i < m.rank_begin[e + 1]; ++i) {
        const T* a = group.down + int64_t{a_begin + (m.shared_a ? i - m.rank_begin[e] : i)} * group.in;
        double u = 0;
        for (int k = 0; k < group.in; ++k) u += std::fabs(double{x[k]} * ToFloat(a[k]));
        const double scale = u * std::fabs(double{m.scale[e]} * run.weight);
        for (int c = 0; c < m.out; ++c) {
          sum[m.out_begin + c] += scale * std::fabs(ToFloat(m.up[int64_t{i} * m.out + c]));
        }
      }
    }
  }
  return sum;
}

// How far off a gate of the member may be in f32, or infinity where the router is so near a tie that f32 may
// pick other experts.
template <class T>
double GateError(const LoraRun<T>& run, const LoraMember<T>& m, const float* x) {
  const LoraGate gate = WithTopK(m.gate, run.top_k, m.experts);
  if (gate.rule == GateRule::kNone) return 0;
  std::vector<double> logit(RouterRows(gate, m.experts));
  double logit_error = 0;
  for (size_t i = 0; i < logit.size(); ++i) {
    double size = logit[i] = m.router_bias ? m.router_bias[i] : 0;
    size = std::fabs(size);
    for (int k = 0; k < run.group->in; ++k) {
      const auto row = (m.down_begin + static_cast<int64_t>(i)) * run.group->in;
      const double term = double{x[k]} * ToFloat(run.group->down[row + k]);
      logit[i] += term;
      size += std::fabs(term);
    }
    logit_error = std::max(logit_error, (run.group->in / 16 + 8) * kUnit * size);
  }
  // A probability is wrong by this share of itself, twice as much once it is divided by a sum of them.
  const double share = std::expm1(4 * logit_error) + 40 * kUnit;
  if (gate.rule == GateRule::kSoftmax) return share;
  std::vector<double> p(logit.begin(), logit.begin() + m.experts);
  const double max = *std::ranges::max_element(p);
  for (double& v : p) v = std::exp(v - max);
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  if (gate.rule == GateRule::kTopK) {
    std::ranges::sort(p, std::greater());
    return p[gate.top_k - 1] * (1 - share) > p[gate.top_k] * (1 + share) ? share : INFINITY;
  }
  const bool fixed = gate.rule == GateRule::kFixedThreshold;
  const double threshold = fixed ? gate.threshold : gate.threshold / (1 + std::exp(-logit.back()));
  double kept = 0;
  for (const double v : p) {
    if (std::fabs(v - threshold) < share * (v + threshold)) return INFINITY;
    kept += std::max(0.0, v - threshold);
  }
  if (fixed) return share;  // no difference
  // Each difference is off by a share of 1 + threshold at most, and so is their sum, m.experts times.
  return kept == 0 ? 0 : (m.experts + 1) * share * (1 + threshold) / kept;
}

// How far element c of a row may be from the reference: the two chains of a coefficient (in / 16 FMAs and a
// tree of 4; the coefficients of all experts), a softmax and a few products, each relative to `magnitude`;
// the gates' own error; and one rounding of y for every expert, scale and bias.
template <class T>
std::vector<double> LoraBound(const LoraRun<T>& run, const float* x, const float* before, int out) {
  const std::vector<double> magnitude = Magnitude(run, x, out);
  std::vector<double> bound(out);
  for (const LoraMember<T>& m : run.group->members) {
    const double chain = run.group->in / 16 + 5 + m.rank_begin[m.experts] + 40;
    const double share = chain * kUnit + GateError(run, m, x);
    for (int c = 0; c < m.out; ++c) {
      const double size = magnitude[m.out_begin + c], y = std::fabs(before[m.out_begin + c]) + size;
      const double error = share * size + (m.experts + 3) * kUnit * y;
      const double scale = m.out_scale ? std::fabs(m.out_scale[c]) : 1;
      const double bias = m.out_bias ? std::fabs(run.weight * m.out_bias[c]) : 0;
      bound[m.out_begin + c] = scale * error + 4 * kUnit * (scale * y + bias) + 1e-37;
    }
  }
  return bound;
}

constexpr LoraGate kDense{GateRule::kSoftmax};
constexpr LoraGate Keep(int k, bool renormalize) { return {GateRule::kTopK, k, renormalize}; }
constexpr LoraGate Above(float largest) { return {GateRule::kThreshold, 0, false, largest}; }
constexpr LoraGate From(float threshold) { return {GateRule::kFixedThreshold, 0, false, threshold}; }

inline const std::vector<std::vector<MemberSpec>>& LoraSpecs() {
  static const std::vector<std::vector<MemberSpec>> specs = {
      {{.out = 5, .ranks = {1}}},
      {{.out = 67, .ranks = {3}}, {.out = 16, .ranks = {8}}, {.out = 1, .ranks = {16}}},
      {{.out = 300, .ranks = {64}}, {.out = 33, .ranks = {128}}},
      {{.out = 96, .ranks = {8, 8, 8}, .gate = kDense, .shared_a = true}},  // HydraLoRA
      {{.out = 40, .ranks = std::vector<int>(16, 5), .gate = kDense, .bias = true},
       {.out = 90, .ranks = std::vector<int>(7, 3), .gate = kDense, .shared_a = true, .bias = true}},
      {{.out = 530, .ranks = {16, 16, 16, 16}}},                       // ungated experts
      {{.out = 30, .ranks = {1, 3, 8, 16, 64, 128}, .gate = kDense}},  // LoRAMoE of mixed ranks
      {{.out = 64, .ranks = {2}, .gate = kDense}, {.out = 64, .ranks = {1}}},
      {{.out = 70, .ranks = std::vector<int>(8, 4), .gate = Keep(2, true)},  // MoLA
       {.out = 33, .ranks = {1, 3, 8, 16, 64, 128}, .gate = Keep(3, false), .bias = true}},
      {{.out = 300, .ranks = std::vector<int>(16, 3), .gate = Keep(1, true), .shared_a = true},
       {.out = 20, .ranks = {9}}},
      {{.out = 70, .ranks = std::vector<int>(6, 4), .gate = Above(0.25f), .bias = true},  // AdaMoLE
       {.out = 70, .ranks = std::vector<int>(3, 2), .gate = Above(2.f)}},
      {{.out = 70, .ranks = std::vector<int>(6, 4), .gate = From(0.2f)},  // MoLE
       {.out = 300, .ranks = std::vector<int>(3, 2), .gate = From(0.4f), .shared_a = true, .bias = true},
       {.out = 33, .ranks = {1, 3, 8}, .gate = From(1.5f)}},
      {{.out = 40, .ranks = {5}, .out_scale = true, .out_bias = true},  // DoRA; a bias of lora_B
       {.out = 280, .ranks = {4}, .out_bias = true}},
      {{.out = 50, .ranks = {3, 1, 4}, .gate = Keep(2, true), .out_scale = true, .out_bias = true}},
  };
  return specs;
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_KERNELS_LORA_CASES_H_
