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
    mixture_.reset();  // before the device that has it
    model_.reset();
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

  void Adapt(TestSequence& sequence) const {
    sequence.mixture = mixture_;
    sequence.decision = *golden_.decision;
    if (golden_.decision == Decision::kLabel)
      sequence.expert = mixture_->names().at(static_cast<size_t>(golden_.label));
  }
  // The experts of a prompt that is run in pieces of `rows` for the routers to see.
  std::vector<int> Pick(const GoldenPrompt& prompt, int rows) {
    BlockPool pool(model_->limits().kv_blocks);
    TestSequence sequence{.tokens = prompt.ids};
    Adapt(sequence);
    const int tokens = static_cast<int>(prompt.ids.size());
    int left = tokens;
    for (; left > 0; left -= std::min(rows, left)) {
      const Chunk chunk{&sequence, std::min(rows, left)};
      EXPECT_TRUE(RunStep(*model_, pool, {&chunk, 1}).empty()) << "nobody else";
    }
    return Experts(*sequence.stepped->route);
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
  std::vector<int> Pieces() const {
    return golden_.decision == Decision::kLayer ? std::vector<int>{1000} : std::vector<int>{1000, 1, 3};
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
      for (const int rows : Pieces()) {
        EXPECT_EQ(Pick(prompt, rows), prompt.route)
            << "in pieces of " << rows << ", f32 " << (type == DType::kF32);
      }
    }
  }
}

TEST_P(MoaGolden, LogitsAgreeWithTheReference) {
  for (const DType type : {DType::kF32, DType::kBf16}) {
    ASSERT_NO_FATAL_FAILURE(Load(type));
    const auto adapt = [&](const GoldenPrompt&, TestSequence& sequence) { Adapt(sequence); };
    CheckGolden(golden_, *model_, adapt, type == DType::kBf16, model_->limits().max_context);
  }
}

INSTANTIATE_TEST_SUITE_P(Decisions, MoaGolden, ::testing::ValuesIn(MoaGoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
