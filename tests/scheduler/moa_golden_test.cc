// MoA, read from its files, against the float64 reference: the experts that each way to decide picks, and the
// logits that they give.
#include <gtest/gtest.h>

#include "server/backend/cpu/cpu_backend.h"
#include "server/scheduler/expert_route.h"
#include "tests/model/golden.h"
#include "tests/scheduler/moa_mixture.h"

namespace hydrad {
namespace {

class MoaGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void Load(DType type) {
    golden_ = LoadGolden(GetParam());
    backend_ = MakeCpuBackend({.threads = 2, .weight_type = type});
    auto model = LoadTransformer(ModelDir(golden_), *backend_,
                                 {.max_rows = 256, .max_logit_rows = 256, .kv_blocks = 64});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    const AdapterShape shape = model_->config().adapter_shape();
    auto mixture = LoadMixture(golden_.adapters.at(0), *backend_, shape);
    ASSERT_TRUE(mixture.ok()) << mixture.status();
    mixture_ = *std::move(mixture);
  }

  ExpertRoute Undecided(const GoldenPrompt& prompt) const {
    return {*mixture_, *golden_.decision, golden_.label, static_cast<int>(prompt.ids.size())};
  }
  // Runs the prompt in pieces of `rows` for the routers to see.
  void Decide(const GoldenPrompt& prompt, int rows, ExpertRoute& route) {
    BlockPool pool(model_->limits().kv_blocks);
    TestSequence sequence{.tokens = prompt.ids, .adapter = nullptr, .computed = 0, .blocks = {}};
    sequence.by_layer = route.by_layer();
    sequence.probe = [&](int first, int count, int row) { return route.Probe(first, count, row); };
    const int tokens = static_cast<int>(prompt.ids.size());
    while (sequence.computed < tokens) {
      const Chunk chunk{&sequence, std::min(rows, tokens - sequence.computed)};
      RunStep(*model_, pool, {&chunk, 1});
    }
    route.Decide();
  }
  // The expert of every layer, by number.
  std::vector<int> Experts(const ExpertRoute& route) const {
    const RouteTaken taken = route.taken();
    std::vector<int> experts(static_cast<size_t>(mixture_->router().layers), mixture_->Find(taken.expert));
    if (!taken.expert.empty()) return experts;
    std::ranges::transform(taken.votes, experts.begin(),
                           [&](const auto& name) { return mixture_->Find(name); });
    return experts;
  }
  // By layer the whole prompt must be in the step.
  std::vector<int> Pieces(const ExpertRoute& route) const {
    return route.on_base() ? std::vector<int>{1000, 1, 3} : std::vector<int>{1000};
  }

  GoldenCase golden_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> model_;
  std::shared_ptr<const Mixture> mixture_;
};

TEST_P(MoaGolden, PicksTheReferencesExpertsHoweverThePromptIsCut) {
  for (const DType type : {DType::kF32, DType::kBf16}) {
    ASSERT_NO_FATAL_FAILURE(Load(type));
    for (const GoldenPrompt& prompt : golden_.prompts) {
      if (golden_.decision == Decision::kLabel) continue;
      for (const int rows : Pieces(Undecided(prompt))) {
        ExpertRoute route = Undecided(prompt);
        Decide(prompt, rows, route);
        EXPECT_EQ(Experts(route), prompt.route)
            << "in pieces of " << rows << ", f32 " << (type == DType::kF32);
      }
    }
  }
}

TEST_P(MoaGolden, LogitsAgreeWithTheReference) {
  for (const DType type : {DType::kF32, DType::kBf16}) {
    ASSERT_NO_FATAL_FAILURE(Load(type));
    std::optional<ExpertRoute> route;
    const auto adapt = [&](const GoldenPrompt& prompt, TestSequence& sequence) {
      route.emplace(Undecided(prompt));
      if (route->on_base()) Decide(prompt, 1000, *route);
      sequence.adapter = route->adapter();
      sequence.by_layer = route->by_layer();
      const bool picks = !route->decided();
      const int tokens = static_cast<int>(prompt.ids.size());
      sequence.probe = [&route, picks, tokens](int first, int count, int row) {
        return picks && first < tokens ? route->Probe(first, count, row) : std::nullopt;
      };
    };
    CheckGolden(golden_, *model_, adapt, type == DType::kBf16, model_->limits().max_context);
  }
}

INSTANTIATE_TEST_SUITE_P(Decisions, MoaGolden, ::testing::ValuesIn(MoaGoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
