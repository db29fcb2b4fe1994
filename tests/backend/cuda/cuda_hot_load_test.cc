// Adapters come, are replaced and go while steps run: no step ever sees another adapter's bytes, or bytes
// that are not there yet. On tests/ptxsim streams run as late as they may, so what is not waited for is not
// there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/cuda/cuda_backend.h"
#include "server/base/check.h"
#include "server/base/mutex.h"
#include "tests/model/adapters.h"
#include "tests/model/stepper.h"

namespace hydrad {
namespace {

constexpr const char* kModel = "tests/golden/models/llama";
constexpr int kAdapters = 6;  // different ones, by seed
const std::vector<int32_t> kTokens = {5, 17, 44, 9};

// Plain, routed, and of the embedding and lm_head, in turn.
RandomAdapterOptions Options(int seed) {
  if (seed % 3 == 0) return {.rank = 3 + seed, .size = 0.2f};
  if (seed % 3 == 1)
    return {.rank = 4, .experts = 3, .shared_a = true, .gate = {GateRule::kSoftmax}, .size = 0.2f};
  return {.rank = 2,
          .targets = {Projection::kEmbedding, Projection::kV, Projection::kHead},
          .embedding_tokens = {17, 9, 5},
          .head_tokens = {kAllTokens},
          .size = 0.2f};
}

std::unique_ptr<Transformer> Load(Backend& backend) {
  auto model = LoadTransformer(kModel, backend, {.max_rows = 32, .max_logit_rows = 32, .kv_blocks = 16});
  HYDRAD_CHECK(model.ok());
  return *std::move(model);
}

// The last position's logits, after a prompt of three tokens and one more.
std::vector<float> LogitsOf(Transformer& model, BlockPool& pool, const DeviceAdapter* adapter) {
  TestSequence sequence{.tokens = kTokens, .adapter = adapter};
  const Chunk prompt{&sequence, 3}, last{&sequence, 1};
  RunStep(model, pool, {&prompt, 1});
  return RunStep(model, pool, {&last, 1}).front();
}

// What the loader hands to the steps.
struct Slot {
  Mutex mu;
  std::shared_ptr<const DeviceAdapter> adapter ABSL_GUARDED_BY(mu);
  int seed ABSL_GUARDED_BY(mu) = -1;
};

class CudaHotLoad : public testing::Test {
 protected:
  CudaHotLoad() {
    const auto cpu = MakeCpuBackend({.threads = 1});
    const auto reference = Load(*cpu);
    BlockPool pool(16);
    for (int seed = 0; seed < kAdapters; ++seed) {
      const AdapterShape shape = reference->config().adapter_shape();
      const auto adapter = *cpu->LoadAdapter(RandomAdapter(seed, shape, Options(seed)), shape);
      want_.push_back(LogitsOf(*reference, pool, adapter.get()));
    }
  }
  // The nearest of the references: adapters are far from each other, and bf16 activations are near.
  int Nearest(const std::vector<float>& logits) const {
    std::vector<float> distance;
    for (const auto& want : want_) {
      float worst = 0;
      for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::abs(logits[i] - want[i]));
      distance.push_back(worst);
    }
    return static_cast<int>(std::min_element(distance.begin(), distance.end()) - distance.begin());
  }
  std::vector<std::vector<float>> want_;
};

// Nobody waits for the upload but the step that follows at once, and what it finds uploaded it uses again.
TEST_F(CudaHotLoad, TheFirstStepWaitsForTheUpload) {
  auto opened = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 1 << 20});
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto model = Load(**opened);
  const AdapterShape shape = model->config().adapter_shape();
  BlockPool pool(16);
  std::vector<std::unique_ptr<DeviceAdapter>> adapters;
  for (int i = 0; i < 2 * kAdapters; ++i) {
    const int seed = i % kAdapters;
    adapters.push_back(*(*opened)->LoadAdapter(RandomAdapter(seed, shape, Options(seed)), shape));
    EXPECT_EQ(Nearest(LogitsOf(*model, pool, adapters.back().get())), seed) << i;
    EXPECT_EQ(Nearest(LogitsOf(*model, pool, adapters.front().get())), 0) << i;
  }
}

// The pool holds two adapters, so every load waits for what the last step but one has let go.
TEST_F(CudaHotLoad, EveryStepSeesTheAdapterThatItNames) {
  auto opened = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 96 << 10});
  ASSERT_TRUE(opened.ok()) << opened.status();
  Backend& backend = **opened;
  const auto model = Load(backend);
  const AdapterShape shape = model->config().adapter_shape();
  Slot slot;
  bool stop = false;  // guarded by slot.mu
  std::thread loader([&] {
    for (int i = 0;; ++i) {
      auto loaded = backend.LoadAdapter(RandomAdapter(i % kAdapters, shape, Options(i % kAdapters)), shape);
      MutexLock lock(&slot.mu);
      if (stop) return;
      if (!loaded.ok()) {
        EXPECT_EQ(loaded.status().code(), absl::StatusCode::kResourceExhausted);
        slot.adapter.reset();  // evict, and try again
        --i;
        continue;
      }
      slot.adapter = *std::move(loaded);
      slot.seed = i % kAdapters;
      slot.mu.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return slot.seed < 0 || stop; });
      if (stop) return;
    }
  });
  BlockPool pool(16);
  for (int step = 0; step < 12; ++step) {
    std::shared_ptr<const DeviceAdapter> adapter;
    int seed;
    {
      MutexLock lock(&slot.mu);
      slot.mu.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return slot.seed >= 0; });
      adapter = slot.adapter, seed = std::exchange(slot.seed, -1);
    }
    EXPECT_EQ(Nearest(LogitsOf(*model, pool, adapter.get())), seed) << step;
  }
  {
    MutexLock lock(&slot.mu);
    stop = true;
  }
  loader.join();
  MutexLock lock(&slot.mu);
  slot.adapter.reset();  // before the backend goes
}

}  // namespace
}  // namespace hydrad
