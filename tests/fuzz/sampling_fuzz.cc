// Every combination of numbers that a request may hold, over logits of every shape: the draw is the
// definition's, and every instruction set's passes over the row agree.
#include <cmath>
#include <iostream>
#include <vector>

#include "kernels/simd/isa.h"
#include "kernels/simd/kernel_table.h"
#include "server/base/check.h"
#include "tests/kernels/sampling_cases.h"

namespace hydrad {
namespace {

void Expect(bool holds, const SamplingCase& c, const std::string& what) {
  if (holds) return;
  std::cerr << what << ": " << Describe(c) << '\n';
  HYDRAD_CHECK(holds);
}

void CheckPasses(const SamplingCase& c) {
  using simd::Isa;
  const auto count = static_cast<int64_t>(c.logits.size());
  const simd::Table& portable = simd::TableFor(Isa::kPortable);
  const float max = portable.max_or_nan(c.logits.data(), count);
  const float temperature = c.params.temperature > 0 ? c.params.temperature : 1;
  std::vector<float> want(c.logits.size()), got(c.logits.size());
  const bool finite = std::isfinite(max);
  const double total = finite ? portable.exp_sum(c.logits.data(), max, temperature, want.data(), count) : 0;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (!simd::Supported(isa)) continue;
    const simd::Table& table = simd::TableFor(isa);
    const float other = table.max_or_nan(c.logits.data(), count);
    Expect(other == max || (std::isnan(other) && std::isnan(max)), c, "maxima differ");
    if (!finite) continue;
    const double sum = table.exp_sum(c.logits.data(), max, temperature, got.data(), count);
    Expect(std::fabs(sum - total) <= 1e-6 * total, c, "sums differ");
    for (size_t i = 0; i < got.size(); ++i)
      Expect(std::fabs(got[i] - want[i]) <= 1e-6f * want[i] + 1e-37f, c, "weights differ");
  }
}

void CheckCase(Choices choices) {
  const SamplingCase c = MakeSamplingCase(choices, 1 + choices.Below(300));
  std::vector<float> logits = c.logits;
  const std::string wrong = WrongWith(Sample(logits, c.row()), c);
  Expect(wrong.empty(), c, wrong);
  CheckPasses(c);
}

}  // namespace
}  // namespace hydrad

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hydrad::CheckCase(hydrad::Choices(std::span<const uint8_t>(data, size)));
  return 0;
}
