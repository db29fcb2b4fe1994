// What becomes of an error of the device: with every call of CUDA and of cuBLASLt failing in its turn, while
// a backend opens, while adapters come and go, and while requests run. Nothing aborts, every request ends,
// memory is where it was, and unless the device is lost later requests get what they would have got.
#include <gtest/gtest.h>

#include <cstdio>

#include "server/backend/cuda/cuda_backend.h"
#include "server/backend/device_errors.h"
#include "server/base/check.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/model/transformer.h"
#include "tests/fakes/fake_claim.h"
#include "tests/model/adapters.h"
#include "tests/ptxsim/ptxsim.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

constexpr char kModel[] = "tests/golden/models/llama";
constexpr ModelLimits kLimits = {.max_rows = 16, .max_logit_rows = 8, .block_size = 4, .kv_blocks = 64};
// Numbers of CUDA's errors; no header of CUDA is needed here.
constexpr int kMemoryAllocation = 2, kIllegalAddress = 700, kUnknown = 999;
constexpr size_t kPoolBytes = size_t{128} << 10;

absl::StatusOr<std::unique_ptr<Backend>> Open() {
  return MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = kPoolBytes});
}

// A backend with the model and adapters of every kind: a LoRA of all projections and both ends, a HydraLoRA,
// and experts of which a router picks one.
class World {
 public:
  static constexpr int kBase = -1, kLora = 0, kHydra = 1, kMoa = 2;

  static absl::StatusOr<std::unique_ptr<World>> Make() {
    auto world = std::make_unique<World>();
    ASSIGN_OR_RETURN(world->backend_, Open());
    ASSIGN_OR_RETURN(world->model_, LoadTransformer(kModel, *world->backend_, kLimits));
    RETURN_IF_ERROR(world->AddPlain({.rank = 3, .head_tokens = {5, 90, 17}, .size = 0.1f}));
    RETURN_IF_ERROR(world->AddPlain(
        {.rank = 2, .experts = 3, .shared_a = true, .gate = {GateRule::kSoftmax}, .size = 0.1f}));
    RETURN_IF_ERROR(world->AddMoa());
    return world;
  }

  Backend& backend() { return *backend_; }
  Transformer& model() { return *model_; }
  AdapterHandle Handle(int adapter) const {
    return adapter == kBase ? AdapterHandle() : HandleOn(adapters_[static_cast<size_t>(adapter)]);
  }

 private:
  absl::StatusOr<std::unique_ptr<DeviceAdapter>> Load(const RandomAdapterOptions& options) {
    const AdapterShape shape = model_->config().adapter_shape();
    return backend_->LoadAdapter(RandomAdapter(++seed_, shape, options), shape);
  }
  void Add(std::shared_ptr<AdapterGeneration> generation) {
    generation->generation = adapters_.size() + 1;
    generation->name = "adapter" + std::to_string(adapters_.size());
    adapters_.push_back(std::move(generation));
  }
  absl::Status AddPlain(const RandomAdapterOptions& options) {
    auto generation = std::make_shared<AdapterGeneration>();
    ASSIGN_OR_RETURN(generation->device, Load(options));
    Add(std::move(generation));
    return absl::OkStatus();
  }
  absl::Status AddMoa() {
    const AdapterShape shape = model_->config().adapter_shape();
    std::vector<Mixture::Expert> experts;
    for (int e = 0; e < 2; ++e) {
      auto expert = std::make_shared<DeviceExpert>();
      expert->name = "expert" + std::to_string(e);
      ASSIGN_OR_RETURN(expert->adapter, Load({.rank = 2, .size = 0.1f}));
      std::vector<float> rows(static_cast<size_t>(shape.layers) * shape.hidden);
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>((i * 7 + e * 3) % 11) - 5;
      ASSIGN_OR_RETURN(expert->router, backend_->LoadVector(rows));
      experts.push_back(std::move(expert));
    }
    auto generation = std::make_shared<AdapterGeneration>();
    generation->mixture = std::make_unique<Mixture>(std::move(experts), shape.layers, RouterPool::kLast,
                                                    Decision::kVote, backend_->device_adapters());
    Add(std::move(generation));
    return absl::OkStatus();
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> model_;
  std::vector<std::shared_ptr<const AdapterGeneration>> adapters_;
  uint32_t seed_ = 0;
};

using Records = std::vector<RecordingSink::Record>;

struct Ask {
  int adapter;
  RequestSpec spec;
};

Ask Asked(int adapter, int prompt, int tokens) {
  Ask ask{.adapter = adapter, .spec = {}};
  ask.spec.prompt.clear();
  for (int i = 0; i < prompt; ++i) ask.spec.prompt.push_back(3 + (7 * i + 5 * prompt) % 120);
  ask.spec.stopping.max_tokens = tokens;
  ask.spec.stopping.ignore_eos = true;
  ask.spec.sampling.temperature = 0;
  return ask;
}

// Several requests at once, of every adapter and of everything that a step may be asked for; `Late` is what
// comes after them.
std::vector<Ask> Many() {
  std::vector<Ask> asks = {Asked(World::kBase, 6, 5), Asked(World::kLora, 3, 2), Asked(World::kHydra, 2, 2),
                           Asked(World::kMoa, 3, 2), Asked(World::kMoa, 2, 2)};
  asks[0].spec.output.top_logprobs = 25;  // more than there is room for at first
  asks[1].spec.output.prompt_logprobs = 1;
  asks[2].spec.output.routing = true;
  asks[4].spec.decision = Decision::kLayer;
  return asks;
}
std::vector<Ask> Late() { return {Asked(World::kBase, 3, 2), Asked(World::kLora, 2, 2)}; }

// Runs them on an engine of their own, which must have all of its blocks back in the end.
Records RunAll(RigWorld& rig, World& world, const std::vector<Ask>& asks) {
  QueueLimit room(1000);
  Engine engine({.max_running = 8, .prefill_chunk = 16}, world.model(), *rig.tokenizer, rig.clock,
                rig.metrics);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (const Ask& ask : asks) {
    sinks.push_back(std::make_shared<RecordingSink>());
    Request request = rig.Make(sinks.size(), ask.spec, sinks.back());
    request.adapter = world.Handle(ask.adapter);
    if (ask.adapter == World::kMoa) request.decision = ask.spec.decision;
    engine.Add(std::move(request), *room.Take());
  }
  for (int steps = 0; engine.Step(); ++steps) HYDRAD_CHECK(steps < 200);
  EXPECT_TRUE(engine.empty());
  EXPECT_EQ(engine.free_blocks(), kLimits.kv_blocks);
  EXPECT_EQ(room.taken(), 0);
  Records records;
  for (const auto& sink : sinks) records.push_back(sink->record());
  return records;
}

bool AllOk(const Records& records) {
  return std::ranges::all_of(records, [](const auto& record) { return record.status.ok(); });
}

void ExpectTheSame(const Records& got, const Records& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_TRUE(got[i].status.ok()) << got[i].status;
    ASSERT_EQ(got[i].choices.size(), 1u);
    EXPECT_EQ(got[i].choices.at(0).tokens, want[i].choices.at(0).tokens);
  }
}

// Each ended once, with all of its tokens or with an error of the device.
void ExpectEnded(const Records& records, const std::vector<Ask>& asks, bool lost) {
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].dones, 1);
    if (records[i].status.ok()) {
      EXPECT_EQ(records[i].choices.at(0).tokens.size(),
                static_cast<size_t>(asks[i].spec.stopping.max_tokens));
    } else {
      EXPECT_EQ(ReasonGiven(records[i].status), lost ? kDeviceLost : kDeviceError) << records[i].status;
      EXPECT_EQ(records[i].status.code(),
                lost ? absl::StatusCode::kUnavailable : absl::StatusCode::kInternal);
    }
  }
}

class DeviceErrors : public testing::Test {
 protected:
  void SetUp() override {
    if (sim_ == nullptr) GTEST_SKIP() << "a device does not fail when it is told to";
    sim_->set_checks(PTXSIM_CHECKS_OFF);
    SetLogLevel("off");  // of steps that fail as they are told to
  }
  void TearDown() override {
    if (sim_ == nullptr) return;
    sim_->clear();
    sim_->set_checks(PTXSIM_CHECKS_FULL);
  }
  // The name of the call that failed since; empty if none did. The device is well again.
  std::string TakeFailed() {
    const char* name = sim_->failed_call();
    const std::string failed = name == nullptr ? "" : name;
    EXPECT_EQ(sim_->check(), 0u) << failed;
    sim_->clear();
    return failed;
  }
  const ptxsim_api* const sim_ = ptxsim_get();
  RigWorld rig_;
};

TEST_F(DeviceErrors, WhileABackendOpensTheyAreItsStatus) {
  for (const int lost : {0, 1}) {
    uint64_t call = 1;
    for (;; ++call) {
      sim_->fail_call(call, lost != 0 ? kIllegalAddress : kUnknown, lost);
      const auto world = World::Make();
      const std::string failed = TakeFailed();
      if (failed.empty()) {
        EXPECT_TRUE(world.ok()) << world.status();
        break;
      }
      ASSERT_FALSE(world.ok()) << failed << ", call " << call;
      EXPECT_EQ(ReasonGiven(world.status()), lost != 0 ? kDeviceLost : kDeviceError)
          << failed << ": " << world.status();
      EXPECT_FALSE(world.status().message().empty());
    }
    std::printf("opening makes %d calls\n", static_cast<int>(call) - 1);
  }
}

TEST_F(DeviceErrors, WhileAdaptersComeAndGoOthersDoNotFeelThem) {
  auto made = World::Make();
  ASSERT_TRUE(made.ok()) << made.status();
  World& world = **made;
  const Records want = RunAll(rig_, world, Late());
  ASSERT_TRUE(AllOk(want));
  const AdapterShape shape = world.model().config().adapter_shape();
  const AdapterWeights weights =
      RandomAdapter(99, shape, {.rank = 4, .embedding_tokens = {7, 9}, .size = 0.1f});
  const std::vector<float> vector(100, 1.0f);
  // As many as there is room for, and then they go.
  const auto fill = [&](absl::Status* first) {
    std::vector<std::unique_ptr<DeviceAdapter>> adapters;
    for (;;) {
      auto adapter = world.backend().LoadAdapter(weights, shape);
      if (adapter.ok()) adapters.push_back(*std::move(adapter));
      if (!adapter.ok()) *first = adapter.status();
      if (!adapter.ok()) return adapters.size();
    }
  };
  absl::Status full;
  const size_t fit = fill(&full);
  ASSERT_TRUE(absl::IsResourceExhausted(full)) << full;
  ASSERT_GT(fit, 1u);
  const auto free = world.backend().free_bytes();
  uint64_t call = 1;
  for (;; ++call) {
    sim_->fail_call(call, call % 2 == 0 ? kUnknown : kMemoryAllocation, /*lost=*/0);
    absl::Status loaded = world.backend().LoadAdapter(weights, shape).status();
    loaded.Update(world.backend().LoadVector(vector).status());
    const std::string failed = TakeFailed();
    if (failed.empty()) break;
    // What a call that gives back reports is nobody's error.
    if (failed.find("Destroy") == failed.npos && failed.find("Query") == failed.npos) {
      EXPECT_FALSE(loaded.ok()) << failed;
    }
    EXPECT_EQ(world.backend().free_bytes(), free) << failed;
    EXPECT_EQ(fill(&full), fit) << failed;
    EXPECT_TRUE(absl::IsResourceExhausted(full)) << failed << ": " << full;
    if (call % 4 == 0) ExpectTheSame(RunAll(rig_, world, Late()), want);
  }
  std::printf("loading makes %d calls\n", static_cast<int>(call) - 1);
  EXPECT_GT(call, 10u);
  ExpectTheSame(RunAll(rig_, world, Late()), want);
  EXPECT_TRUE(world.backend().device_status().ok());
}

// Each on a device of its own, so that kernels are loaded, products planned and steps recorded while calls
// fail.
TEST_F(DeviceErrors, OfAStepTheyEndItsRequestsAlone) {
  Records want;
  uint64_t call = 1;
  for (;; ++call) {
    auto made = World::Make();
    ASSERT_TRUE(made.ok()) << made.status();
    World& world = **made;
    if (want.empty()) want = RunAll(rig_, world, Late());
    const auto free = world.backend().free_bytes();
    sim_->fail_call(call, call % 2 == 0 ? kUnknown : kMemoryAllocation, /*lost=*/0);
    const Records many = RunAll(rig_, world, Many());
    const std::string failed = TakeFailed();
    SCOPED_TRACE(testing::Message() << failed << ", call " << call);
    ExpectEnded(many, Many(), /*lost=*/false);
    // What a step has grown stays, and what could not grow is taken when it is needed.
    EXPECT_GE(world.backend().free_bytes().value() + (size_t{1} << 20), free.value());
    ExpectTheSame(RunAll(rig_, world, Late()), want);
    EXPECT_TRUE(world.backend().device_status().ok());
    if (failed.empty()) break;
    if (testing::Test::HasFailure()) return;
  }
  std::printf("the steps make %d calls\n", static_cast<int>(call) - 1);
}

TEST_F(DeviceErrors, ThatLoseTheDeviceEndEveryRequest) {
  for (uint64_t call = 1;; call += 7) {
    auto made = World::Make();
    ASSERT_TRUE(made.ok()) << made.status();
    World& world = **made;
    sim_->fail_call(call, kIllegalAddress, /*lost=*/1);
    const Records many = RunAll(rig_, world, Many());
    if (sim_->failed_call() == nullptr) break;
    SCOPED_TRACE(testing::Message() << sim_->failed_call() << ", call " << call);
    ExpectEnded(many, Many(), /*lost=*/true);
    const Records late = RunAll(rig_, world, Late());
    ExpectEnded(late, Late(), /*lost=*/true);
    EXPECT_FALSE(late[0].status.ok());
    EXPECT_TRUE(IsDeviceLost(world.backend().device_status()));
    const AdapterShape shape = world.model().config().adapter_shape();
    EXPECT_FALSE(world.backend().LoadAdapter(RandomAdapter(1, shape, {}), shape).ok());
    made->reset();  // gives back what is no more
    TakeFailed();
  }
}

}  // namespace
}  // namespace hydrad
