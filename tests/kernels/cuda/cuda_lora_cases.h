// Adapters for the tests of the CUDA adapter kernels: the same weights for the reference and on the device.
#ifndef HYDRAD_TESTS_KERNELS_CUDA_CUDA_LORA_CASES_H_
#define HYDRAD_TESTS_KERNELS_CUDA_CUDA_LORA_CASES_H_

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <numeric>

#include "kernels/lora.h"
#include "tests/kernels/cuda/cuda_cases.h"

namespace hydrad {

struct MemberSpec {
  int out;
  std::vector<int> ranks;  // of each expert
  LoraGate gate = {};
  bool shared_a = false, bias = false, out_scale = false, out_bias = false;
  int gap = 0;  // columns between the member before and this one
};
struct AdapterSpec {
  std::vector<MemberSpec> members;
  size_t misaligned = 0;  // elements by which the weights miss 16 bytes
};

inline LoraGate Softmax() { return {.rule = GateRule::kSoftmax}; }
inline LoraGate TopK(int k, bool renormalize) {
  return {.rule = GateRule::kTopK, .top_k = k, .renormalize = renormalize};
}
inline LoraGate Threshold(float t) { return {.rule = GateRule::kThreshold, .threshold = t}; }
inline LoraGate FixedThreshold(float t) { return {.rule = GateRule::kFixedThreshold, .threshold = t}; }

// One adapter's weights for one group.
class TestAdapter {
 public:
  TestAdapter(int in, const AdapterSpec& spec, uint64_t seed, float size = 0.3)
      : misaligned_(spec.misaligned) {
    int rows = 0, out_begin = 0, z_begin = 0, gate_begin = 0;
    for (const MemberSpec& s : spec.members) {
      LoraMember<bf16> m{};
      m.down_begin = rows;
      m.out_begin = out_begin + s.gap;
      m.out = s.out;
      m.experts = static_cast<int>(s.ranks.size());
      ints_.emplace_back(1, 0);
      for (const int rank : s.ranks) ints_.back().push_back(ints_.back().back() + rank);
      m.rank_begin = ints_.back().data();
      m.gate = s.gate;
      m.shared_a = s.shared_a;
      const int ranks = ints_.back().back(), routers = RouterRows(s.gate, m.experts);
      m.scale = Floats(m.experts, ++seed);
      m.router_bias = s.bias ? Floats(routers, ++seed) : nullptr;
      m.out_scale = s.out_scale ? Floats(s.out, ++seed) : nullptr;
      m.out_bias = s.out_bias ? Floats(s.out, ++seed) : nullptr;
      ups_.push_back(Matrix<bf16>::Random(ranks, s.out, ++seed, size));
      m.up = ups_.back().view().data;
      members_.push_back(m);
      on_device_.push_back(Upload(m, ranks, routers, z_begin, gate_begin));
      rows += routers + (s.shared_a ? s.ranks[0] : ranks);
      out_begin = m.out_begin + s.out;
      z_begin += (ranks + 7) / 8 * 8;
      gate_begin += s.gate.rule == GateRule::kNone ? 0 : m.experts;
    }
    down_ = std::make_unique<Matrix<bf16>>(Matrix<bf16>::Random(rows, in, ++seed, size));
    group_ = {down_->view().data, rows, in, members_};
    const OnDevice<bf16>& down = Keep(bf16s_, down_->view().data, size_t(rows) * in);
    members_memory_ = std::make_unique<OnDevice<cuda::LoraMember>>(on_device_);
    device_group_ = {down.data(), rows, in, members_memory_->data(), static_cast<int>(members_.size()),
                     z_begin};
    out_ = out_begin;
    gates_ = gate_begin;
  }
  TestAdapter(const TestAdapter&) = delete;
  TestAdapter& operator=(const TestAdapter&) = delete;

  const LoraGroup<bf16>& group() const { return group_; }
  const cuda::LoraGroup& device_group() const { return device_group_; }
  int out() const { return out_; }
  int gates() const { return gates_; }

 private:
  const float* Floats(int count, uint64_t seed) {
    floats_.push_back(Matrix<float>::Random(1, count, seed));
    return floats_.back().view().data;
  }
  template <class T>
  const OnDevice<T>& Keep(std::deque<OnDevice<T>>& kept, const T* values, size_t count) {
    kept.emplace_back(std::span<const T>(values, count), sizeof(T) == 2 ? misaligned_ : 0);
    return kept.back();
  }
  const float* Copied(const float* values, int count) {
    return values == nullptr ? nullptr : Keep(device_floats_, values, count).data();
  }
  cuda::LoraMember Upload(const LoraMember<bf16>& m, int ranks, int routers, int z_begin, int gate_begin) {
    return {m.down_begin,
            m.out_begin,
            m.out,
            m.experts,
            z_begin,
            gate_begin,
            Keep(device_ints_, m.rank_begin, m.experts + 1).data(),
            m.gate,
            m.shared_a,
            Copied(m.scale, m.experts),
            Copied(m.router_bias, routers),
            Keep(bf16s_, m.up, size_t(ranks) * m.out).data(),
            Copied(m.out_scale, m.out),
            Copied(m.out_bias, m.out)};
  }

  const size_t misaligned_;
  std::deque<std::vector<int32_t>> ints_;
  std::deque<Matrix<float>> floats_;
  std::deque<Matrix<bf16>> ups_;
  std::unique_ptr<Matrix<bf16>> down_;
  std::vector<LoraMember<bf16>> members_;
  LoraGroup<bf16> group_;
  std::deque<OnDevice<bf16>> bf16s_;
  std::deque<OnDevice<float>> device_floats_;
  std::deque<OnDevice<int32_t>> device_ints_;
  std::vector<cuda::LoraMember> on_device_;
  std::unique_ptr<OnDevice<cuda::LoraMember>> members_memory_;
  cuda::LoraGroup device_group_;
  int out_ = 0, gates_ = 0;
};

// A run of the batch, for both sides.
struct TestRun {
  int row_begin, row_end;
  const TestAdapter* adapter;
  float weight = 1;
  int top_k = 0;
};

// The rounding that the device may add to one row, per element: what z, its gates and its sums are worth.
inline std::vector<double> ErrorOfRow(const LoraRun<bf16>& run, const float* x, int out,
                                      bool routed_exactly = false) {
  const LoraGroup<bf16>& group = *run.group;
  std::vector<double> error(out, 0.0);
  const auto size = [&](int down) {
    double sum = 0;
    for (int k = 0; k < group.in; ++k)
      sum += std::fabs(double{x[k]} * ToFloat(group.down[int64_t{down} * group.in + k]));
    return sum;
  };
  const double chain = (group.in / 8 + 32) * kUnit;  // of a dot product, however it is cut
  for (const LoraMember<bf16>& m : group.members) {
    const int routers = RouterRows(m.gate, m.experts), ranks = m.rank_begin[m.experts];
    double logit = 0;
    for (int e = 0; e < routers; ++e) logit = std::max(logit, chain * size(m.down_begin + e) + 4 * kUnit);
    // A gate is wrong by this share of itself; a threshold, by this much of the whole.
    double gate = routed_exactly ? 0 : std::expm1(2 * logit) + 16 * kUnit;
    if (m.gate.rule == GateRule::kThreshold) gate *= 64;
    for (int e = 0; e < m.experts; ++e) {
      for (int j = m.rank_begin[e]; j < m.rank_begin[e + 1]; ++j) {
        const double u = size(m.down_begin + routers + (m.shared_a ? j - m.rank_begin[e] : j));
        const double z = std::fabs(run.weight * m.scale[e]) * u;
        for (int c = 0; c < m.out; ++c) {
          error[m.out_begin + c] += (kUnitBf16 + chain + gate + (ranks + 8) * kUnit) * z *
                                    std::fabs(ToFloat(m.up[int64_t{j} * m.out + c]));
        }
      }
    }
    for (int c = 0; m.out_scale != nullptr && c < m.out; ++c)
      error[m.out_begin + c] *= std::fabs(m.out_scale[c]);
  }
  return error;
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_KERNELS_CUDA_CUDA_LORA_CASES_H_
