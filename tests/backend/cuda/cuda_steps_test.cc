// What only shows over several steps: recorded steps find the batch at hand, padded rows harm nobody, and
// nothing is overwritten while a copy of it is under way. Against the CPU backend on a small model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/cuda/cuda_backend.h"
#include "server/base/check.h"
#include "tests/model/adapters.h"
#include "tests/model/stepper.h"

namespace hydrad {
namespace {

// Twice what the golden cases of this model say of a bf16 run without adapters (0.33), and as much again for
// the largest adapter here; adapters and prompts move the logits by more.
constexpr float kBound = 1.2f;
constexpr ModelLimits kWide = {.max_rows = 24, .max_logit_rows = 24, .kv_blocks = 16};
constexpr ModelLimits kTight = {.max_rows = 24, .max_logit_rows = 3, .kv_blocks = 16};

// One sequence per adapter index (-1: the base model), on one device.
struct Device {
  Device(std::unique_ptr<Backend> b, const ModelLimits& limits) : backend(std::move(b)) {
    auto loaded = LoadTransformer("tests/golden/models/llama", *backend, limits);
    HYDRAD_CHECK(loaded.ok());
    model = *std::move(loaded);
  }
  void Add(const RandomAdapterOptions& options) {
    const AdapterShape shape = model->config().adapter_shape();
    const auto seed = static_cast<uint32_t>(adapters.size());
    adapters.push_back(*backend->LoadAdapter(RandomAdapter(seed, shape, options), shape));
  }
  void Start(std::vector<int> adapter_of) {
    sequences.clear();
    for (const int a : adapter_of) {
      TestSequence s{.tokens = {}, .adapter = a < 0 ? nullptr : adapters[a].get()};
      for (int i = 0; i < 40; ++i)
        s.tokens.push_back(3 + (7 * i + 5 * static_cast<int>(sequences.size())) % 120);
      sequences.push_back(std::move(s));
    }
  }
  // Each sequence goes on by `tokens`.
  std::vector<std::vector<float>> Step(int tokens) { return RunStep(*model, pool, Chunks(tokens)); }
  // Twice, with the second step prepared while the first runs.
  std::vector<std::vector<float>> PreparedSteps(int tokens, bool dropped) {
    return RunPreparedSteps(*model, pool, Chunks(tokens), dropped);
  }
  std::vector<Chunk> Chunks(int tokens) {
    std::vector<Chunk> chunks;
    for (TestSequence& s : sequences) chunks.push_back({&s, tokens});
    return chunks;
  }

  std::unique_ptr<Backend> backend;
  std::unique_ptr<Transformer> model;
  std::vector<std::unique_ptr<DeviceAdapter>> adapters;
  BlockPool pool{16};
  std::vector<TestSequence> sequences;
};

class CudaStepsTest : public testing::Test {
 protected:
  explicit CudaStepsTest(const ModelLimits& limits = kWide)
      : cuda_(Open(), limits), cpu_(MakeCpuBackend({.threads = 1}), limits) {}
  static std::unique_ptr<Backend> Open() {
    auto backend = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 4 << 20});
    HYDRAD_CHECK(backend.ok());
    return *std::move(backend);
  }
  void Add(const RandomAdapterOptions& options) { cuda_.Add(options), cpu_.Add(options); }
  void Start(const std::vector<int>& adapter_of) { cuda_.Start(adapter_of), cpu_.Start(adapter_of); }
  void StepAndCompare(int tokens, const char* what) { Compare(cuda_.Step(tokens), cpu_.Step(tokens), what); }
  void PreparedStepsAndCompare(int tokens, bool dropped, const char* what) {
    Compare(cuda_.PreparedSteps(tokens, dropped), cpu_.PreparedSteps(tokens, dropped), what);
  }
  using Logits = std::vector<std::vector<float>>;
  static void Compare(const Logits& got, const Logits& want, const char* what) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      for (size_t t = 0; t < want[i].size(); ++t) {
        ASSERT_LE(std::abs(got[i][t] - want[i][t]), kBound) << what << ", row " << i << ", token " << t;
      }
    }
  }
  Device cuda_, cpu_;
};

class CudaTightStepsTest : public CudaStepsTest {
 protected:
  CudaTightStepsTest() : CudaStepsTest(kTight) {}
};

// Three rows, padded to as many as the limits allow, which is three; then two, padded to two; then one.
TEST_F(CudaTightStepsTest, RecordedStepsOfEverySizeFollowTheBatch) {
  Add({.rank = 6, .size = 0.1f});
  Add({.rank = 2, .size = 0.1f});
  for (const std::vector<int>& mix :
       {std::vector{0, -1, 1}, {-1, -1, -1}, {1, 0}, {-1, 0}, {1}, {-1}, {0, 1, 1}}) {
    Start(mix);
    StepAndCompare(1, "first");
    for (int i = 0; i < 3; ++i) StepAndCompare(1, "decode");
  }
}

// What a recorded step launches depends on which ends of the network its adapters change: rows of its own,
// a LoRA of the embedding, one of lm_head, none, and all at once, more rows of them in every mix.
TEST_F(CudaStepsTest, RecordedStepsChangeTheEndsTheirAdaptersChange) {
  Add({.rank = 4, .targets = {Projection::kV}, .head_tokens = {5, 90, 17}, .size = 0.1f});
  Add({.rank = 4, .targets = {Projection::kEmbedding}, .size = 0.1f});
  Add({.rank = 4, .targets = {Projection::kQ, Projection::kHead}, .size = 0.1f});
  Add({.rank = 2, .size = 0.1f});
  for (const std::vector<int>& mix :
       {std::vector{3, 3, -1}, {0, 3, -1}, {1, -1, 3}, {2, 2, 3}, {0, 1, 2}, {2, 1, 0}, {-1, 3, 3}}) {
    Start(mix);
    StepAndCompare(2, "prompts");
    for (int i = 0; i < 3; ++i) StepAndCompare(1, "decode");
  }
}

// A step of 5 rows is padded to 6 where the limits let it: the padded row's K and V go nowhere.
TEST(CudaPaddedStepsTest, LeaveTheCacheAlone) {
  auto opened = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 4 << 20});
  ASSERT_TRUE(opened.ok());
  const auto cpu = MakeCpuBackend({.threads = 1});
  std::vector<std::vector<std::vector<float>>> logits;
  for (Backend* backend : {opened->get(), cpu.get()}) {
    auto model = LoadTransformer("tests/golden/models/llama", *backend,
                                 {.max_rows = 8, .max_logit_rows = 8, .kv_blocks = 8});
    ASSERT_TRUE(model.ok());
    BlockPool pool(8);
    std::vector<TestSequence> sequences(5);
    std::vector<Chunk> chunks;
    for (int i = 0; i < 5; ++i) {
      for (int t = 0; t < 6; ++t) sequences[i].tokens.push_back(9 + 11 * i + 4 * t);
      chunks.push_back({&sequences[i], 1});
    }
    for (int i = 0; i < 5; ++i) RunStep(**model, pool, chunks);
    logits.push_back(RunStep(**model, pool, chunks));
  }
  for (size_t i = 0; i < 5; ++i) {
    for (size_t t = 0; t < logits[0][i].size(); ++t)
      ASSERT_LE(std::abs(logits[0][i][t] - logits[1][i][t]), kBound);
  }
}

// The scratch moves when an adapter needs more of it, and what was recorded is recorded again. Two rows: with
// too short a stride one row's coefficients reach into the other's.
TEST_F(CudaStepsTest, RecordedStepsFollowAWiderAdapter) {
  Add({.rank = 4, .size = 0.1f});
  Start({0, 0});
  for (int i = 0; i < 4; ++i) StepAndCompare(1, "narrow");
  Add({.rank = 12, .experts = 8, .gate = {GateRule::kSoftmax}, .size = 0.1f});  // 3 * (8 + 96) rows of D
  Start({1, 1});
  for (int i = 0; i < 4; ++i) StepAndCompare(1, "wide");
}

// The larger rank first: each run has what its own adapter takes.
TEST_F(CudaStepsTest, RunsOfDifferentRanksShareALaunch) {
  Add({.rank = 40, .size = 0.05f});
  Add({.rank = 3, .size = 0.1f});
  Add({.rank = 4, .experts = 4, .gate = {GateRule::kTopK, 2, true}, .size = 0.1f});
  Start({0, 1, 2});
  StepAndCompare(7, "prompts");
  for (int i = 0; i < 3; ++i) StepAndCompare(1, "decode");
}

// What is planned while a step runs reaches neither that step nor one that runs in its stead, and what was
// planned for other tokens runs with those that have come. Pieces of prompts, and steps that are recorded.
TEST_F(CudaStepsTest, StepsArePreparedWhileOthersRun) {
  Add({.rank = 6, .size = 0.1f});
  Add({.rank = 4, .experts = 3, .gate = {GateRule::kSoftmax}, .size = 0.1f});
  Start({0, -1, 1});
  PreparedStepsAndCompare(3, /*dropped=*/false, "prompts");
  PreparedStepsAndCompare(2, /*dropped=*/true, "prompts, dropped");
  for (int i = 0; i < 3; ++i) {
    PreparedStepsAndCompare(1, /*dropped=*/false, "decode");
    PreparedStepsAndCompare(1, /*dropped=*/true, "decode, dropped");
    StepAndCompare(1, "not prepared");
  }
}

// Steps that want no logits return before the device has begun; their metadata must not be overwritten.
TEST_F(CudaStepsTest, StepsThatNobodyReadsAreDoneAllTheSame) {
  Start({-1});
  for (Device* device : {&cuda_, &cpu_}) {
    TestSequence& s = device->sequences[0];
    s.tokens.resize(16);
    s.scored = false;
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(device->Step(3).empty());
  }
  StepAndCompare(1, "after five prompts' pieces");
}

}  // namespace
}  // namespace hydrad
