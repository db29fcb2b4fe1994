// The whole network on the CUDA backend against the CPU backend, over the small models of tests/golden and
// their adapters: the prompt in one step, then token by token (recorded steps from the third on).
//
// The bound: the golden file has what transformers' own bf16 run is off from its f32 run. The CPU backend's
// activations are f32 and its run is off by less; CUDA rounds activations where transformers does, but for
// the residual stream. Two such runs are at most twice that apart.
#include <gtest/gtest.h>

#include <algorithm>

#include "server/adapters/posix_disk.h"
#include "server/adapters/read_adapter.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/cuda/cuda_backend.h"
#include "tests/model/golden.h"
#include "tests/model/stepper.h"

namespace hydrad {
namespace {

// A model and, if the case has one, its adapter on one device.
struct Served {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Transformer> model;
  std::unique_ptr<DeviceAdapter> adapter;
};

Served Serve(std::unique_ptr<Backend> backend, const GoldenCase& golden) {
  Served served{std::move(backend), nullptr, nullptr};
  auto model = LoadTransformer(ModelDir(golden), *served.backend,
                               {.max_rows = 64, .max_logit_rows = 64, .kv_blocks = 16});
  HYDRAD_CHECK(model.ok());
  served.model = *std::move(model);
  if (golden.adapter.empty()) return served;
  const AdapterShape shape = served.model->config().adapter_shape();
  const auto disk = MakePosixDisk(".");
  const auto contents = ReadAdapter(*disk, golden.adapter, shape, 1u << 30);
  HYDRAD_CHECK(contents.ok());
  auto adapter = served.backend->LoadAdapter(contents->weights, shape);
  HYDRAD_CHECK(adapter.ok());
  served.adapter = *std::move(adapter);
  return served;
}

std::unique_ptr<Backend> Cuda() {
  auto backend = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 8 << 20});
  HYDRAD_CHECK(backend.ok());
  return *std::move(backend);
}

constexpr int kDecoded = 5;

std::vector<std::vector<float>> LogitsOf(Served& served, const GoldenPrompt& prompt) {
  BlockPool pool(served.model->limits().kv_blocks);
  TestSequence sequence{.tokens = prompt.ids, .adapter = served.adapter.get(), .computed = 0, .blocks = {}};
  sequence.tokens.insert(sequence.tokens.end(), prompt.greedy.begin(), prompt.greedy.end());
  const int most =
      std::min<int>(static_cast<int>(sequence.tokens.size()), served.model->limits().max_context);
  const Chunk first{&sequence, std::min<int>(most, static_cast<int>(prompt.ids.size()))};
  auto logits = RunStep(*served.model, pool, {&first, 1});
  for (int i = 0; i < kDecoded && sequence.computed < most; ++i) {
    const Chunk next{&sequence, 1};
    logits.push_back(RunStep(*served.model, pool, {&next, 1}).front());
  }
  return logits;
}

int ArgMax(const std::vector<float>& x) {
  return static_cast<int>(std::max_element(x.begin(), x.end()) - x.begin());
}

float Lead(std::vector<float> x) {
  std::nth_element(x.begin(), x.begin() + 1, x.end(), std::greater<>());
  return x[0] - x[1];
}

class CudaGolden : public testing::TestWithParam<std::string> {};

TEST_P(CudaGolden, AgreesWithTheCpu) {
  const GoldenCase golden = LoadGolden(GetParam());
  Served cuda = Serve(Cuda(), golden), cpu = Serve(MakeCpuBackend({.threads = 1}), golden);
  for (const GoldenPrompt& prompt : golden.prompts) {
    const auto got = LogitsOf(cuda, prompt), want = LogitsOf(cpu, prompt);
    const float bound = 2 * prompt.bf16_error;
    float worst = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      for (size_t t = 0; t < got[i].size(); ++t) worst = std::max(worst, std::abs(got[i][t] - want[i][t]));
      if (Lead(want[i]) > 2 * bound) EXPECT_EQ(ArgMax(got[i]), ArgMax(want[i])) << "position " << i;
    }
    EXPECT_LE(worst, bound);
    std::printf("%s: %zu positions, worst %.3g of %.3g\n", golden.name.c_str(), got.size(), worst, bound);
  }
}

std::vector<std::string> Names() {
  std::vector<std::string> names = GoldenNames(/*adapter=*/false, /*smollm2=*/false);
  for (const std::string& name : GoldenNames(/*adapter=*/true, /*smollm2=*/false)) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Small, CudaGolden, testing::ValuesIn(Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
