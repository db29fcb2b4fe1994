// The whole network on the CUDA backend against the CPU backend, over the small models of tests/golden and
// their adapters: the prompt in one step, then token by token (recorded steps from the third on).
//
// The bound: the golden file has what transformers' own bf16 run is off from its f32 run. The CPU backend's
// activations are f32 and its run is off by less; CUDA rounds activations where transformers does, but for
// the residual stream. Two such runs are at most twice that apart.
//
// A gate that picks experts jumps where two of them weigh nearly the same, and a rounding decides. So the
// CPU's run follows CUDA's picks: where it would pick another expert for a row, that row is told CUDA's
// logits of the one router by its bias. That the picks follow from the logits, and that the logits are near,
// is compared for every router, row and layer. Nobody tells transformers' bf16 run, which may jump, and then
// is off by far more than a rounding: the bound of such a case is at most that of the model under adapters
// that weigh all of their experts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "server/adapters/formats/posix_disk.h"
#include "server/adapters/formats/read_adapter.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/cuda/cuda_backend.h"
#include "server/base/check.h"
#include "server/model/base_weights.h"
#include "tests/backend/cuda/gates_seen.h"
#include "tests/model/golden.h"
#include "tests/model/stepper.h"

namespace hydrad {
namespace {

// A model and the case's adapters on one device.
struct Served {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Transformer> model;
  std::vector<std::unique_ptr<DeviceAdapter>> adapters{};
  std::vector<int32_t> invocation{};
  AdapterWeights weights{};                  // of one adapter with routers, and then
  std::unique_ptr<DeviceAdapter> routers{};  // RoutersOf it

  std::unique_ptr<DeviceAdapter> Load(const AdapterWeights& of) const {
    auto adapter = backend->LoadAdapter(of, model->config().adapter_shape());
    HYDRAD_CHECK(adapter.ok());
    return *std::move(adapter);
  }
};

Served Serve(std::unique_ptr<Backend> backend, const GoldenCase& golden) {
  Served served{std::move(backend), nullptr};
  auto model = LoadTransformer(ModelDir(golden), *served.backend,
                               {.max_rows = 64, .max_logit_rows = 64, .kv_blocks = 16});
  HYDRAD_CHECK(model.ok());
  served.model = *std::move(model);
  const ModelConfig& config = served.model->config();
  const auto base = BaseWeights::Open(ModelDir(golden), config);
  HYDRAD_CHECK(base.ok());
  for (const std::string& path : golden.adapters) {
    const auto contents =
        ReadAdapter(*MakePosixDisk("."), path, config.adapter_shape(), 1u << 30, base->get());
    HYDRAD_CHECK(contents.ok());
    served.adapters.push_back(served.Load(contents->weights));
    served.invocation = contents->invocation;
    if (golden.adapters.size() > 1 || !TraitsOf(contents->weights).routed) continue;
    served.weights = contents->weights;
    served.routers = served.Load(RoutersOf(served.weights));
  }
  return served;
}

std::unique_ptr<Backend> Cuda() {
  auto backend = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 8 << 20});
  HYDRAD_CHECK(backend.ok());
  return *std::move(backend);
}

constexpr int kDecoded = 5;

// What every position of a prompt and of some of its continuation has given.
struct Ran {
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<GateSeen>> gates;  // of an adapter with routers
};

// A prompt on one device.
class Prompt {
 public:
  // With `gates` the routers run along.
  Prompt(Served& served, const GoldenCase& golden, const GoldenPrompt& prompt, bool gates)
      : served_(served), top_k_(golden.top_k), gates_(gates), pool_(served.model->limits().kv_blocks) {
    sequence_.tokens = prompt.ids;
    std::vector<const DeviceAdapter*> adapters;
    for (const auto& adapter : served.adapters) adapters.push_back(adapter.get());
    AdaptBy(golden, adapters, served.invocation)(prompt, sequence_);
    if (gates) sequence_.more.push_back({served.routers.get(), 0});
    sequence_.continuation = prompt.greedy;
    most_ = std::min({static_cast<int>(prompt.ids.size() + prompt.greedy.size()),
                      served.model->limits().max_context, static_cast<int>(prompt.ids.size()) + kDecoded});
    prompt_ = std::min(most_, static_cast<int>(prompt.ids.size()));
  }

  // The prompt in one step, then token by token.
  Ran Run() {
    Ran ran;
    Advance(prompt_, ran);
    while (sequence_.computed() < most_) Advance(1, ran);
    return ran;
  }
  // Token by token, with the picks of `leader`.
  Ran Follow(const Ran& leader) {
    Ran ran;
    while (sequence_.computed() < most_) FollowOne(leader.gates[ran.gates.size()], ran);
    return ran;
  }
  int told() const { return told_; }  // routers that Follow has told the leader's logits

 private:
  void Advance(int tokens, Ran& ran) {
    const Chunk chunk{&sequence_, tokens};
    for (auto& logits : RunStep(*served_.model, pool_, {&chunk, 1})) ran.logits.push_back(std::move(logits));
    if (!gates_) return;
    const DeviceAdapter &own = *sequence_.adapter, &routers = *served_.routers;
    const float *record = served_.backend->Gates(0).data(), *all = served_.backend->Gates(1).data();
    for (int r = 0; r < tokens; ++r) {
      ran.gates.push_back(GatesOfRow(served_.weights, top_k_, own, record + r * own.gate_count(), routers,
                                     all + r * routers.gate_count()));
    }
  }

  void FollowOne(const std::vector<GateSeen>& leader, Ran& ran) {
    const DeviceAdapter* const untold = served_.adapters.front().get();
    AdapterWeights weights = served_.weights;
    std::unique_ptr<DeviceAdapter> told;
    for (;;) {
      Ran one;
      sequence_.adapter = told != nullptr ? told.get() : untold;
      Advance(1, one);
      const std::vector<GateSeen>& own = one.gates.front();
      const auto apart = std::ranges::mismatch(own, leader, {}, &GateSeen::picked, &GateSeen::picked);
      if (apart.in1 == own.end()) {
        ran.logits.push_back(one.logits.front());
        ran.gates.push_back(own);
        break;
      }
      std::vector<float> change;
      for (size_t e = 0; e < apart.in1->picked.size(); ++e)
        change.push_back(apart.in2->logits[e] - apart.in1->logits[e]);
      AddToBias(weights, untold->gate_places()[static_cast<size_t>(apart.in1 - own.begin())], change);
      told = served_.Load(weights);
      RunAgain();
      HYDRAD_CHECK(++told_ < 100);
    }
    used_.push_back(std::move(told));
  }

  // The positions that are followed so far, each with the adapter that it was followed with: the same bits.
  void RunAgain() {
    Preempt(sequence_);
    Ran unseen;
    for (const auto& told : used_) {
      sequence_.adapter = told != nullptr ? told.get() : served_.adapters.front().get();
      Advance(1, unseen);
    }
  }

  Served& served_;
  const int top_k_;
  const bool gates_;
  BlockPool pool_;
  TestSequence sequence_;
  std::vector<std::unique_ptr<DeviceAdapter>> used_;  // by position, if it was not the case's own
  int prompt_, most_, told_ = 0;
};

int ArgMax(const std::vector<float>& x) {
  return static_cast<int>(std::max_element(x.begin(), x.end()) - x.begin());
}

float Lead(std::vector<float> x) {
  std::nth_element(x.begin(), x.begin() + 1, x.end(), std::greater<>());
  return x[0] - x[1];
}

float Spread(const std::vector<float>& x, size_t count) {
  const auto [least, largest] = std::minmax_element(x.begin(), x.begin() + static_cast<ptrdiff_t>(count));
  return *largest - *least;
}

void CompareLogits(const Ran& got, const Ran& want, float bound) {
  float worst = 0;
  for (size_t i = 0; i < got.logits.size(); ++i) {
    const auto &g = got.logits[i], &w = want.logits[i];
    for (size_t t = 0; t < g.size(); ++t) worst = std::max(worst, std::abs(g[t] - w[t]));
    if (Lead(w) <= 2 * bound) continue;
    EXPECT_EQ(ArgMax(g), ArgMax(w)) << "position " << i;
  }
  EXPECT_LE(worst, bound);
  std::printf("%zu positions, worst %.3g of %.3g\n", got.logits.size(), worst, bound);
}

// A router's logits are rows times the stream, as the network's are: relatively they are no further off.
void CompareGates(const Ran& got, const Ran& want, float bound) {
  float spread = 0, gate_spread = 0, worst = 0;
  for (size_t i = 0; i < got.gates.size(); ++i) {
    spread = std::max(spread, Spread(want.logits[i], want.logits[i].size()));
    for (size_t g = 0; g < got.gates[i].size(); ++g) {
      const GateSeen &a = got.gates[i][g], &b = want.gates[i][g];
      gate_spread = std::max(gate_spread, Spread(b.logits, b.logits.size()));
      for (size_t e = 0; e < a.logits.size(); ++e)
        worst = std::max(worst, std::abs(a.logits[e] - b.logits[e]));
      EXPECT_TRUE(PickedLargest(a)) << "position " << i << ", router " << g;
      EXPECT_EQ(std::ranges::count(a.picked, true), std::ranges::count(b.picked, true));
    }
  }
  EXPECT_LE(worst, bound * gate_spread / spread);
  std::printf("gates: worst %.3g of %.3g\n", worst, bound * gate_spread / spread);
}

// Whether a gate of the case picks, as its adapter says or as its request asks.
bool Picks(const GoldenCase& golden) {
  return golden.top_k > 0 || std::ranges::any_of(golden.adapters, [](const std::string& path) {
           const auto config = nlohmann::json::parse(std::ifstream(path + "/adapter_config.json"));
           return config.contains("top_k") || config.contains("threshold");
         });
}

float BoundOf(const GoldenCase& golden, const GoldenPrompt& prompt) {
  if (!Picks(golden)) return 2 * prompt.bf16_error;
  float largest = 0;
  for (const std::string& name : GoldenNames(/*adapter=*/true, /*smollm2=*/false)) {
    const GoldenCase other = LoadGolden(name);
    if (other.model != golden.model || Picks(other)) continue;
    for (const GoldenPrompt& p : other.prompts) largest = std::max(largest, 2 * p.bf16_error);
  }
  return std::min(2 * prompt.bf16_error, largest);
}

class CudaGolden : public testing::TestWithParam<std::string> {};

TEST_P(CudaGolden, AgreesWithTheCpu) {
  const GoldenCase golden = LoadGolden(GetParam());
  Served cuda = Serve(Cuda(), golden);
  Served cpu = Serve(MakeCpuBackend({.threads = 1}), golden);
  const bool routed = cuda.routers != nullptr;
  for (const GoldenPrompt& prompt : golden.prompts) {
    Prompt leader(cuda, golden, prompt, routed), follower(cpu, golden, prompt, routed);
    const Ran got = leader.Run(), want = routed ? follower.Follow(got) : follower.Run();
    const float bound = BoundOf(golden, prompt);
    CompareLogits(got, want, bound);
    if (!routed) continue;
    CompareGates(got, want, bound);
    EXPECT_EQ(Prompt(cuda, golden, prompt, false).Run().logits, got.logits) << "without the routers beside";
    std::printf("picks told: %d\n", follower.told());
  }
}

std::vector<std::string> Names() {
  std::vector<std::string> names = GoldenNames(/*adapter=*/false, /*smollm2=*/false);
  std::ranges::copy(GoldenNames(/*adapter=*/true, /*smollm2=*/false), std::back_inserter(names));
  return names;
}

INSTANTIATE_TEST_SUITE_P(Small, CudaGolden, testing::ValuesIn(Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
