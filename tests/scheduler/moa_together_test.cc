// Design promise 1 for adapters that hold experts, with the real network: what a request gets, its route
// included, is the same bit for bit alone, in one piece, on one thread, and among requests of every family,
// in chunks, preempted and computed again.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "server/backend/cpu/cpu_backend.h"
#include "server/base/file.h"
#include "server/model/step_record.h"
#include "tests/fakes/fake_claim.h"
#include "tests/model/adapters.h"
#include "tests/model/golden.h"
#include "tests/scheduler/moa_mixture.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

constexpr char kModel[] = "tests/golden/models/llama_deep";
constexpr int kVocab = 131, kRequests = 24;
constexpr Decision kDecisions[] = {Decision::kLabel, Decision::kLast, Decision::kVote, Decision::kLayer};

// A backend, a model within `limits`, and adapters: two MoAs, a LoRA and a HydraLoRA.
class World {
 public:
  World(DType type, int threads, const ModelLimits& limits, uint64_t seed = 7)
      : backend_(MakeCpuBackend({.threads = threads, .weight_type = type})),
        model_(*LoadTransformer(kModel, *backend_, limits)),
        shape_(model_->config().adapter_shape()) {
    for (const char* name : {"moa_last", "moa_mean"}) AddMoa(std::string("tests/golden/adapters/") + name);
    AddRandom(seed, {.rank = 4});
    AddRandom(seed, {.rank = 3, .experts = 4, .shared_a = true, .gate = {.rule = GateRule::kSoftmax}});
  }

  Transformer& model() { return *model_; }
  const DeviceAdapters& held() const { return backend_->device_adapters(); }
  // -1: the base model.
  AdapterHandle Handle(int adapter) const {
    return adapter < 0 ? AdapterHandle() : HandleOn(adapters_[static_cast<size_t>(adapter)]);
  }
  const Mixture* mixture(int adapter) const {
    return adapter < 0 ? nullptr : adapters_[static_cast<size_t>(adapter)]->mixture.get();
  }

 private:
  void AddMoa(const std::string& path) {
    auto generation = std::make_shared<AdapterGeneration>();
    generation->mixture = *LoadMixture(path, *backend_, shape_);
    Add(std::move(generation));
  }
  void AddRandom(uint64_t seed, const RandomAdapterOptions& options) {
    auto generation = std::make_shared<AdapterGeneration>();
    generation->device = *backend_->LoadAdapter(RandomAdapter(seed, shape_, options), shape_);
    Add(std::move(generation));
  }
  void Add(std::shared_ptr<AdapterGeneration> generation) {
    generation->generation = adapters_.size() + 1;
    generation->name = "adapter" + std::to_string(adapters_.size());
    adapters_.push_back(std::move(generation));
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> model_;
  const AdapterShape shape_;
  std::vector<std::shared_ptr<const AdapterGeneration>> adapters_;
};

struct Ask {
  RequestSpec spec;
  int adapter;
};

std::vector<Ask> RandomAsks() {
  std::mt19937_64 random(5);
  const auto draw = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  std::vector<Ask> asks(kRequests);
  for (int i = 0; i < kRequests; ++i) {
    Ask& ask = asks[static_cast<size_t>(i)];
    ask.adapter = i < 16 ? i % 2 : draw(5) - 1;  // both MoAs with every decision, then any
    ask.spec.decision = i < 16 ? kDecisions[i / 2 % 4] : kDecisions[draw(4)];
    ask.spec.expert = draw(3);
    ask.spec.prompt.resize(static_cast<size_t>(1 + draw(24)));
    for (int32_t& token : ask.spec.prompt) token = draw(kVocab);
    ask.spec.stopping.max_tokens = 1 + draw(12);
    ask.spec.stopping.ignore_eos = true;
    ask.spec.output.top_logprobs = 3;
    if (draw(2) == 0) ask.spec.output.prompt_logprobs = 2;
    ask.spec.seed = random();
    ask.spec.n = 1 + draw(2);
    ask.spec.tenant = draw(RigWorld::kTenants);
  }
  return asks;
}

// The rig world's tenants and clock, with an engine over the world's model.
class Line {
 public:
  Line(RigWorld& rig_world, World& world, const SchedulerOptions& options)
      : Line(rig_world, world, world.model(), options) {}
  // With another model in front of the world's.
  Line(RigWorld& rig_world, World& world, Model& model, const SchedulerOptions& options)
      : rig_world_(rig_world),
        world_(world),
        engine_(options, model, *tokenizer_, rig_world.clock, rig_world.metrics) {}

  std::shared_ptr<RecordingSink> Add(RequestId id, const Ask& ask) {
    auto sink = std::make_shared<RecordingSink>();
    RequestSpec spec = ask.spec;
    spec.adapter = 0;
    Request request = rig_world_.Make(id, spec, sink);
    request.adapter = world_.Handle(ask.adapter);
    if (const Mixture* mixture = world_.mixture(ask.adapter)) {
      const auto& experts = mixture->experts();
      if (spec.decision == Decision::kLabel)
        request.expert = experts[static_cast<size_t>(spec.expert)]->name;
      else
        request.decision = spec.decision;
    }
    engine_.Add(std::move(request), *room_.Take());
    return sink;
  }
  bool Step() { return engine_.Step(); }

 private:
  RigWorld& rig_world_;
  World& world_;
  const std::unique_ptr<const Tokenizer> tokenizer_ = *Tokenizer::Load("deploy/models/tiny/tokenizer.json");
  QueueLimit room_{1000};
  Engine engine_;
};

class MoaTogether : public ::testing::TestWithParam<DType> {};

TEST_P(MoaTogether, WhatARequestGetsIsTheSameBitForBit) {
  RigWorld rig_world;
  const std::vector<Ask> asks = RandomAsks();
  std::vector<RecordingSink::Record> alone;
  World solo(GetParam(), 1, {.max_rows = 64, .max_logit_rows = 64, .block_size = 4, .kv_blocks = 100});
  std::set<std::string> routes;
  for (const Ask& ask : asks) {
    Line line(rig_world, solo, {.max_running = 4, .prefill_chunk = 64});
    const auto sink = line.Add(1, ask);
    while (line.Step()) {
    }
    alone.push_back(sink->record());
    ASSERT_TRUE(alone.back().status.ok()) << alone.back().status;
    if (alone.back().route)
      routes.insert(
          fmt::format("{} {}", alone.back().route->expert, fmt::join(alone.back().route->votes, " ")));
  }
  EXPECT_GT(routes.size(), 6u) << "the routers say something";
  for (const int threads : {1, 3}) {
    World world(GetParam(), threads,
                {.max_rows = 40, .max_logit_rows = 12, .block_size = 4, .kv_blocks = 24});
    Line line(rig_world, world, {.max_running = 8, .prefill_chunk = 7});
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (size_t i = 0; i < asks.size(); ++i) {
      sinks.push_back(line.Add(i + 1, asks[i]));
      line.Step();
    }
    while (line.Step()) {
    }
    for (size_t i = 0; i < asks.size(); ++i) {
      SCOPED_TRACE(fmt::format("request {}, adapter {}, {} threads", i, asks[i].adapter, threads));
      EXPECT_TRUE(sinks[i]->record().status.ok()) << sinks[i]->record().status;
      ExpectSameAsAlone(sinks[i]->record(), alone[i]);
    }
  }
  EXPECT_TRUE(rig_world.AllBack());
}

// A step is all in its values: what ran in one process runs in another, to the same bits.
TEST_P(MoaTogether, ARecordedHistoryGivesTheSameBitsOnAFreshBackend) {
  const ModelLimits limits{.max_rows = 40, .max_logit_rows = 12, .block_size = 4, .kv_blocks = 24};
  const std::string path = testing::TempDir() + "/steps." + std::to_string(getpid());
  RigWorld rig_world;
  std::vector<Ask> asks = RandomAsks();
  for (size_t i = 0; i < asks.size(); i += 3) {
    asks[i].spec.sampling.repetition_penalty = 1.3f, asks[i].spec.sampling.frequency_penalty = 0.5f;
    asks[i].spec.sampling.logit_bias = {{5, 1.5f}};
  }
  {
    World world(GetParam(), 2, limits);
    const auto recording = *RecordingModel::Open(world.model(), path);
    Line line(rig_world, world, *recording, {.max_running = 8, .prefill_chunk = 7});
    for (size_t i = 0; i < asks.size(); ++i) {
      line.Add(i + 1, asks[i]);
      line.Step();
    }
    while (line.Step()) {
    }
  }
  const std::string recorded = *ReadFile(path);
  std::filesystem::remove(path);
  World fresh(GetParam(), 1, *LimitsOfRecording(recorded));
  const auto replayed = ReplaySteps(recorded, fresh.model(), fresh.held());
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_GT(replayed->steps, 50);
  EXPECT_EQ(replayed->results, replayed->steps);
  EXPECT_EQ(replayed->first_other, 0);

  // Other weights in a slot give something else.
  World other(GetParam(), 1, limits, /*seed=*/8);
  const auto differs = ReplaySteps(recorded, other.model(), other.held());
  ASSERT_TRUE(differs.ok()) << differs.status();
  EXPECT_GT(differs->first_other, 0);
}

INSTANTIATE_TEST_SUITE_P(Types, MoaTogether, ::testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& info) { return info.param == DType::kF32 ? "f32" : "bf16"; });

}  // namespace
}  // namespace hydrad
