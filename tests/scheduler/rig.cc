#include "tests/scheduler/rig.h"

#include <gtest/gtest.h>

#include "server/base/check.h"
#include "server/scheduler/fit_to_model.h"
#include "tests/fakes/fake_claim.h"
#include "tests/fakes/fake_form.h"

namespace hydrad {
namespace {

std::string TenantName(int tenant) { return "tenant" + std::to_string(tenant); }

// The fake model asks a router only how many choices it has.
class NoRows final : public Buffer {
 public:
  void* data() const override { return nullptr; }
  size_t bytes() const override { return 0; }
};

std::shared_ptr<AdapterGeneration> MakePlain(int adapter) {
  auto generation = std::make_shared<AdapterGeneration>();
  generation->name = "adapter" + std::to_string(adapter);
  generation->generation = adapter;
  generation->device = std::make_unique<FakeAdapter>(adapter);
  return generation;
}

std::shared_ptr<const AdapterGeneration> MakeMoa(int adapter, RouterPool pool) {
  std::vector<Mixture::Expert> experts;
  for (int e = 0; e < RigWorld::kExperts; ++e) {
    auto expert = std::make_shared<DeviceExpert>();
    expert->name = "expert" + std::to_string(e);
    expert->adapter = std::make_unique<FakeAdapter>(100 * adapter + e);
    expert->router = std::make_unique<NoRows>();
    experts.push_back(std::move(expert));
  }
  auto generation = std::make_shared<AdapterGeneration>();
  generation->name = "adapter" + std::to_string(adapter);
  generation->generation = adapter;
  generation->mixture = std::make_unique<Mixture>(std::move(experts), FakeModel::kLayers, pool,
                                                  Decision::kVote, FakeDeviceAdapters());
  return generation;
}

}  // namespace

RigWorld::RigWorld(std::vector<double> weights) : weights_(std::move(weights)) {
  for (int a = 1; a <= kAdapters; ++a) adapters_.push_back(MakePlain(a));
  adapters_.push_back(MakeMoa(kLastMoa, RouterPool::kLast));
  adapters_.push_back(MakeMoa(kMeanMoa, RouterPool::kMean));
  auto invoked = MakePlain(kInvoked);
  invoked->invocation = {token::kA};
  adapters_.push_back(std::move(invoked));
}

Request RigWorld::Make(RequestId id, const RequestSpec& spec, std::shared_ptr<TokenSink> sink) const {
  Request request;
  request.id = id;
  request.prompt = spec.prompt;
  request.sampling = spec.sampling;
  request.stopping = spec.stopping;
  request.output = spec.output;
  request.form = spec.form;
  request.seed = spec.seed;
  request.n = spec.n;
  if (spec.adapter > 0) request.adapter = HandleOn(adapters_[spec.adapter - 1]);
  const bool moa = spec.adapter == kLastMoa || spec.adapter == kMeanMoa;
  if (moa && spec.decision == Decision::kLabel) {
    request.expert = "expert" + std::to_string(spec.expert);
  } else if (moa) {
    request.decision = spec.decision;
  }
  request.tenant = TenantName(spec.tenant);
  request.cache_group = request.tenant;
  request.weight = weights_[static_cast<size_t>(spec.tenant)];
  request.arrival = clock.Now();
  request.sink = std::move(sink);
  return request;
}

bool RigWorld::AllBack() {
  bool back = true;
  for (const auto& adapter : adapters_) back &= adapter.use_count() == 1;
  return back;
}

FakeModel::Options ModelOptions(ModelLimits limits, bool asynchronous) {
  FakeModel::Options options;
  options.asynchronous = asynchronous;
  options.limits = limits;
  options.vocab_size = token::kCount;
  options.eos = {token::kEnd};
  options.rare = {token::kEnd};
  options.poison = token::kPoison;
  return options;
}

std::shared_ptr<RecordingSink> EngineRig::Add(RequestId id, const RequestSpec& spec, int stall_after,
                                              std::optional<TimePoint> deadline) {
  auto sink = std::make_shared<RecordingSink>(stall_after);
  Request request = world_.Make(id, spec, sink);
  request.deadline = deadline;
  HYDRAD_CHECK(FitToModel(token::kCount, model.limits(), &request).ok());
  engine.Add(std::move(request), *room.Take());
  return sink;
}

RecordingSink::Record RunAlone(RigWorld& world, const RequestSpec& spec) {
  EngineRig rig(world, {}, kRoomy);
  const auto sink = rig.Add(1, spec);
  rig.RunToEnd();
  return sink->record();
}

RequestSpec RandomSpec(std::mt19937_64& rng) {
  const auto draw = [&rng](int n) { return static_cast<int>(rng() % n); };
  RequestSpec spec;
  spec.prompt.resize(1 + draw(draw(3) == 0 ? 40 : 10));
  for (int32_t& id : spec.prompt) id = draw(token::kEnd);
  if (draw(20) == 0) spec.prompt[draw(static_cast<int>(spec.prompt.size()))] = token::kPoison;
  spec.sampling.temperature = draw(3) == 0 ? 0 : 1;
  if (draw(4) == 0) spec.sampling.repetition_penalty = 1.3f;
  if (draw(4) == 0) spec.sampling.frequency_penalty = 0.5f;
  if (draw(4) == 0) spec.sampling.top_k = 5;
  spec.stopping.max_tokens = 1 + draw(20);
  spec.stopping.min_tokens = draw(3) == 0 ? draw(spec.stopping.max_tokens) : 0;
  spec.stopping.ignore_eos = draw(2) == 0;
  if (draw(3) == 0) spec.stopping.stop = {"ab", "€", "c d"};
  if (draw(4) == 0) spec.stopping.stop_ids = {token::kDot};
  if (draw(4) == 0) spec.output.top_logprobs = draw(3);
  if (draw(4) == 0) spec.output.prompt_logprobs = draw(3);
  spec.output.skip_special_tokens = draw(4) != 0;
  spec.seed = rng();
  spec.n = draw(4) == 0 ? 1 + draw(4) : 1;
  spec.adapter = draw(RigWorld::kInvoked + 1);
  spec.decision = static_cast<Decision>(draw(4));
  spec.expert = draw(RigWorld::kExperts);
  spec.tenant = draw(RigWorld::kTenants);
  if (draw(4) == 0) spec.form = std::make_shared<FakeForm>(rng(), /*calls=*/1 + draw(3));
  return spec;
}

namespace {

bool SameDraws(const std::vector<Sampled>& a, const std::vector<Sampled>& b, size_t count) {
  if (a.size() < count || b.size() < count) return false;
  for (size_t i = 0; i < count; ++i) {
    if (a[i].token != b[i].token || a[i].logprob != b[i].logprob || a[i].top.size() != b[i].top.size())
      return false;
    for (size_t t = 0; t < a[i].top.size(); ++t) {
      if (a[i].top[t].token != b[i].top[t].token || a[i].top[t].logprob != b[i].top[t].logprob) return false;
    }
  }
  return true;
}

void ExpectChoice(const RecordingSink::Choice& got, const RecordingSink::Choice& alone) {
  ASSERT_LE(got.tokens.size(), alone.tokens.size());
  EXPECT_TRUE(std::equal(got.tokens.begin(), got.tokens.end(), alone.tokens.begin()));
  EXPECT_TRUE(alone.text.starts_with(got.text)) << got.text << " / " << alone.text;
  EXPECT_TRUE(SameDraws(got.logprobs, alone.logprobs, got.logprobs.size()));
  if (!got.finished) return;
  EXPECT_EQ(got.tokens, alone.tokens);
  EXPECT_EQ(got.text, alone.text);
  EXPECT_EQ(got.reason, alone.reason);
  EXPECT_EQ(got.stop, alone.stop);
}

}  // namespace

void ExpectSameAsAlone(const RecordingSink::Record& got, const RecordingSink::Record& alone) {
  EXPECT_EQ(got.dones, 1);
  if (got.starts > 0) {
    EXPECT_EQ(got.prompt_logprobs.size(), alone.prompt_logprobs.size());
    EXPECT_TRUE(SameDraws(got.prompt_logprobs, alone.prompt_logprobs, got.prompt_logprobs.size()));
    EXPECT_EQ(got.route.has_value(), alone.route.has_value());
    if (got.route && alone.route) {
      EXPECT_EQ(got.route->expert, alone.route->expert);
      EXPECT_EQ(got.route->votes, alone.route->votes);
    }
  }
  for (const auto& [index, choice] : got.choices) {
    ASSERT_TRUE(alone.choices.contains(index));
    ExpectChoice(choice, alone.choices.at(index));
  }
  if (!got.status.ok()) return;
  EXPECT_TRUE(alone.status.ok()) << alone.status;
  EXPECT_EQ(got.choices.size(), alone.choices.size());
  EXPECT_EQ(got.usage.prompt_tokens, alone.usage.prompt_tokens);
  EXPECT_EQ(got.usage.generated_tokens, alone.usage.generated_tokens);
  for (const auto& [index, choice] : got.choices) EXPECT_TRUE(choice.finished);
}

}  // namespace hydrad
