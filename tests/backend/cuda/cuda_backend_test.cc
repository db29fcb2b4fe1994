// Every op of the CUDA backend against the CPU backend's, on values that bf16 holds exactly: what is left is
// how each op rounds, and a bound for it stands at every comparison.
#include "server/backend/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>

#include "kernels/types.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/expert_router.h"
#include "server/base/check.h"
#include "tests/model/adapters.h"
#include "tests/ptxsim/ptxsim.h"

namespace hydrad {
namespace {

constexpr double kHalfUlp = 0x1p-8;  // of bf16, relative
constexpr AdapterShape kShape{.layers = 2, .hidden = 24, .q_out = 32, .kv_out = 16, .ffn = 40};
constexpr int kRows = 7, kHeadDim = 8, kBlock = 4;
constexpr StepLimits kLimits = {.max_rows = 64,
                                .max_logit_rows = 64,
                                .max_context = 64,
                                .block_size = kBlock,
                                .layers = 2,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_dim = kHeadDim};
constexpr double kInvFreq[] = {1, 0.5, 0.25, 0.125};

// One matrix on both devices.
class Both {
 public:
  Both(Backend& cuda, DType type, int rows, int cols, uint32_t seed, float size = 1)
      : host_(static_cast<size_t>(rows) * cols), type_(type), rows_(rows), cols_(cols) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> number(-size, size);
    for (float& x : host_) x = ToFloat(ToBf16(number(random)));
    memory_ = *cuda.Allocate(BytesOf(host_.size(), type));
    Upload();
  }

  Tensor cpu() { return {host_.data(), DType::kF32, rows_, cols_, cols_}; }
  Tensor cuda() const { return {memory_->data(), type_, rows_, cols_, cols_}; }
  float operator()(int r, int c) const { return host_[static_cast<size_t>(r) * cols_ + c]; }
  const std::vector<float>& host() const { return host_; }

  // Element by element: |cuda - cpu| <= relative * |cpu| + absolute. `cols`: only the first ones; 0: all.
  void Compare(Backend& backend, double relative, double absolute, const char* what, int cols = 0) const {
    std::vector<float> got(host_.size());
    backend.ReadBack(cuda(), got);
    for (size_t i = 0; i < got.size(); ++i) {
      if (cols > 0 && static_cast<int>(i % cols_) >= cols) continue;
      const double bound = relative * std::abs(host_[i]) + absolute;
      ASSERT_LE(std::abs(got[i] - host_[i]), bound) << what << " at row " << i / cols_ << ", column "
                                                    << i % cols_ << ": " << got[i] << ", not " << host_[i];
    }
  }

 private:
  void Upload() {
    std::vector<bf16> narrow(host_.size());
    for (size_t i = 0; i < host_.size(); ++i) narrow[i] = ToBf16(host_[i]);
    const void* from = type_ == DType::kF32 ? static_cast<const void*>(host_.data()) : narrow.data();
    ASSERT_EQ(cudaMemcpy(memory_->data(), from, memory_->bytes(), cudaMemcpyHostToDevice), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);  // the backend's stream does not wait for it
  }

  std::vector<float> host_;
  const DType type_;
  const int rows_, cols_;
  std::unique_ptr<Buffer> memory_;
};

class CudaBackendTest : public testing::Test {
 protected:
  CudaBackendTest() {
    for (Backend* b : {cuda_.get(), cpu_.get()}) HYDRAD_CHECK(b->Reserve(kLimits).ok());
  }
  static std::unique_ptr<Backend> Open() {
    auto backend = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 1 << 20});
    HYDRAD_CHECK(backend.ok());
    return *std::move(backend);
  }
  // kRows rows of two sequences: four at positions 0.., three at positions 5.. .
  static Batch TwoSequences() {
    Batch batch;
    for (int r = 0; r < kRows; ++r) {
      batch.tokens.push_back((5 * r) % 11);
      batch.positions.push_back(r < 4 ? r : r + 1);
      batch.slots.push_back(r < 4 ? 2 * kBlock + r : (r + 1 < 8 ? kBlock + r - 3 : 3 * kBlock + r - 7));
    }
    batch.segments = {{0, 4, 0, 0}, {4, 7, 5, 1}};
    batch.block_tables = {2, 0, 1};
    batch.logit_rows = {1, 6};
    return batch;
  }
  void Begin(const Batch& batch) {
    cuda_->BeginStep(batch, kInvFreq);
    cpu_->BeginStep(batch, kInvFreq);
  }
  // The same weight on both. Nothing is freed after it is loaded, which would wait for the device.
  struct Weights {
    std::unique_ptr<Weight> cuda, cpu;
  };
  Weights LoadBoth(int rows, int cols, uint32_t seed, bool bias = false) {
    const std::vector<float> values = Both(*cuda_, DType::kBf16, rows, cols, seed).host();
    const HostMatrix matrix{values.data(), DType::kF32, rows, cols};
    std::vector<float> biases;
    for (int r = 0; bias && r < rows; ++r) biases.push_back(0.5f * static_cast<float>(r % 5));
    return {*cuda_->LoadWeight({&matrix, 1}, biases), *cpu_->LoadWeight({&matrix, 1}, biases)};
  }
  struct Vectors {
    std::unique_ptr<Buffer> cuda, cpu;
  };
  Vectors LoadBoth(int width) {
    std::vector<float> values(width);
    for (int i = 0; i < width; ++i) values[i] = 1 + 0.125f * static_cast<float>(i % 7);
    return {*cuda_->LoadVector(values), *cpu_->LoadVector(values)};
  }

  const std::unique_ptr<Backend> cuda_ = Open();
  const std::unique_ptr<Backend> cpu_ = MakeCpuBackend({.threads = 1});
};

TEST_F(CudaBackendTest, SaysWhatItIs) {
  EXPECT_EQ(cuda_->description().rfind("cuda ", 0), 0) << cuda_->description();
  EXPECT_NE(cuda_->memory_report().find("adapters 1,"), std::string::npos) << cuda_->memory_report();
}

TEST_F(CudaBackendTest, RefusesWhatIsBeyondItsBudget) {
  const size_t free = *cuda_->free_bytes();
  EXPECT_EQ(cuda_->Allocate(free + 1).status().code(), absl::StatusCode::kResourceExhausted);
  {
    const auto taken = cuda_->Allocate(1 << 20);
    ASSERT_TRUE(taken.ok()) << taken.status();
    EXPECT_EQ(*cuda_->free_bytes(), free - (1 << 20));
  }
  EXPECT_EQ(*cuda_->free_bytes(), free);
}

// A KV cache takes all that is free; what adapters and steps ask for later has been kept from it.
TEST_F(CudaBackendTest, ACacheThatTakesAllLeavesRoomToServe) {
  auto opened = MakeCudaBackend({.memory_fraction = 0.02, .adapter_bytes = 1 << 20});
  ASSERT_TRUE(opened.ok()) << opened.status();
  Backend& backend = **opened;
  ASSERT_TRUE(backend.Reserve(kLimits).ok());
  const auto cache = backend.Allocate(*backend.free_bytes());
  ASSERT_TRUE(cache.ok()) << cache.status();
  EXPECT_EQ(*backend.free_bytes(), 0);
  EXPECT_FALSE(backend.Allocate(1).ok());
  for (const int rank : {4, 200, 400}) {
    const auto adapter = backend.LoadAdapter(RandomAdapter(1, kShape, {.rank = rank}), kShape);
    EXPECT_TRUE(adapter.ok()) << adapter.status();
  }
}

TEST_F(CudaBackendTest, EmbedsAndNorms) {
  const Batch batch = TwoSequences();
  const auto table = LoadBoth(11, 24, 1);
  const auto norm = LoadBoth(24);
  Both x(*cuda_, DType::kF32, kRows, 24, 2), delta(*cuda_, DType::kBf16, kRows, 24, 3);
  Both y(*cuda_, DType::kBf16, kRows, 24, 4), last(*cuda_, DType::kBf16, 2, 24, 5);
  Begin(batch);
  cuda_->Embed(x.cuda(), *table.cuda), cpu_->Embed(x.cpu(), *table.cpu);
  x.Compare(*cuda_, 0, 0, "embed");
  // f32 inside, so one rounding to bf16.
  cuda_->RmsNorm(y.cuda(), x.cuda(), *norm.cuda, 1e-5f), cpu_->RmsNorm(y.cpu(), x.cpu(), *norm.cpu, 1e-5f);
  y.Compare(*cuda_, 1.01 * kHalfUlp, 0, "norm");
  cuda_->AddRmsNorm(y.cuda(), x.cuda(), delta.cuda(), *norm.cuda, 1e-5f);
  cpu_->AddRmsNorm(y.cpu(), x.cpu(), delta.cpu(), *norm.cpu, 1e-5f);
  x.Compare(*cuda_, 0, 0, "the stream");
  y.Compare(*cuda_, 1.01 * kHalfUlp, 0, "add and norm");
  cuda_->Add(x.cuda(), delta.cuda()), cpu_->Add(x.cpu(), delta.cpu());
  x.Compare(*cuda_, 0x1p-23, 0, "add");
  cuda_->RmsNormRows(last.cuda(), x.cuda(), batch.logit_rows, *norm.cuda, 1e-5f);
  cpu_->RmsNormRows(last.cpu(), x.cpu(), batch.logit_rows, *norm.cpu, 1e-5f);
  last.Compare(*cuda_, 1.01 * kHalfUlp, 0, "norm of rows");
}

// The weight comes last, so that nothing but its own loading waits for it.
TEST_F(CudaBackendTest, MultipliesIntoBothTypes) {
  for (const bool bias : {false, true}) {
    for (const int rows : {1, kRows}) {
      Both x(*cuda_, DType::kBf16, rows, 24, 7), y(*cuda_, DType::kBf16, rows, 40, 8);
      const auto weight = LoadBoth(40, 24, 6, bias);
      cuda_->Gemm(y.cuda(), x.cuda(), *weight.cuda), cpu_->Gemm(y.cpu(), x.cpu(), *weight.cpu);
      if (rows > 1) {  // once more from the second row on, which is aligned to 16 bytes alone
        cuda_->Gemm(y.cuda().Rows(1, rows - 1), x.cuda().Rows(1, rows - 1), *weight.cuda);
      }
      y.Compare(*cuda_, 1.01 * kHalfUlp, 24 * 0x1p-22, "gemm");
      if (bias) continue;
      Both logits(*cuda_, DType::kF32, rows, 40, 9);
      cuda_->Gemm(logits.cuda(), x.cuda(), *weight.cuda), cpu_->Gemm(logits.cpu(), x.cpu(), *weight.cpu);
      logits.Compare(*cuda_, 0, 24 * 0x1p-22, "gemm into f32");
    }
  }
}

TEST_F(CudaBackendTest, Gates) {
  Both gate_up(*cuda_, DType::kBf16, kRows, 80, 10, 4), y(*cuda_, DType::kBf16, kRows, 40, 11);
  cuda_->SiluMul(y.cuda(), gate_up.cuda()), cpu_->SiluMul(y.cpu(), gate_up.cpu());
  y.Compare(*cuda_, 1.02 * kHalfUlp, 1e-30, "silu");
}

// A KV cache of four blocks on one device.
struct Cache {
  Cache(Backend& backend)
      : k(*backend.Allocate(2 * kElements)),
        v(*backend.Allocate(2 * kElements)),
        view{Side(*k), Side(*v), kBlock, 2, kHeadDim} {}
  static constexpr int kElements = 4 * kBlock * 2 * kHeadDim;
  static Tensor Side(const Buffer& memory) {
    return {memory.data(), DType::kBf16, kElements / kHeadDim, kHeadDim, kHeadDim};
  }
  std::unique_ptr<Buffer> k, v;
  KvCacheView view;
};

// The second sequence's positions 0..4 are written by a step before. q is rounded once; k and q then differ
// from the CPU's by that rounding, so a score by 3 roundings of |q||k|, and the output by that times twice
// the largest value, and by the roundings of the weights and of itself.
TEST_F(CudaBackendTest, RotatesWritesAndAttends) {
  for (const bool normed : {false, true}) {
    Cache cuda_cache(*cuda_), cpu_cache(*cpu_);
    const auto norm = LoadBoth(kHeadDim);
    const HeadNorms cuda_norms{normed ? norm.cuda.get() : nullptr, normed ? norm.cuda.get() : nullptr, 1e-5f};
    const HeadNorms cpu_norms{normed ? norm.cpu.get() : nullptr, normed ? norm.cpu.get() : nullptr, 1e-5f};
    Batch before;
    before.tokens = {1, 1, 1, 1, 1}, before.positions = {0, 1, 2, 3, 4};
    before.slots = {0, 1, 2, 3, kBlock}, before.segments = {{0, 5, 0, 0}}, before.block_tables = {0, 1};
    Both past(*cuda_, DType::kBf16, 5, 64, 12), qkv(*cuda_, DType::kBf16, kRows, 64, 13);
    Both out(*cuda_, DType::kBf16, kRows, 32, 14);
    Begin(before);
    cuda_->RopeAndWriteKv(past.cuda(), cuda_norms, cuda_cache.view);
    cpu_->RopeAndWriteKv(past.cpu(), cpu_norms, cpu_cache.view);
    const Batch batch = TwoSequences();
    Begin(batch);
    cuda_->RopeAndWriteKv(qkv.cuda(), cuda_norms, cuda_cache.view);
    cpu_->RopeAndWriteKv(qkv.cpu(), cpu_norms, cpu_cache.view);
    qkv.Compare(*cuda_, 1.02 * kHalfUlp, 1e-5, "rope", 32);
    cuda_->Attend(out.cuda(), qkv.cuda().Cols(0, 32), cuda_cache.view, 0.35f);
    cpu_->Attend(out.cpu(), qkv.cpu().Cols(0, 32), cpu_cache.view, 0.35f);
    const double largest = normed ? 1.75 * std::sqrt(8.0) : 1.5;  // of |q| and |k| per number
    out.Compare(*cuda_, kHalfUlp, kHalfUlp * (3 * 0.35 * kHeadDim * largest * largest * 2 + 2), "attend");
  }
}

struct Family {
  const char* name;
  RandomAdapterOptions options;
};

// u in f32, z rounded once, then the output: with |x| <= 1 and factors below s a coefficient is below
// scale * in * s, and its rounding reaches an output through `ranks` products with s.
TEST_F(CudaBackendTest, AddsEveryFamilyToTheRowsOfItsRuns) {
  const std::vector<Family> families = {
      {"lora", {.rank = 5}},
      {"long rank", {.rank = 33}},
      {"hydralora",
       {.rank = 4, .experts = 3, .shared_a = true, .gate = {GateRule::kSoftmax}, .router_bias = true}},
      {"top-k", {.rank = 4, .experts = 4, .gate = {GateRule::kTopK, 2, true}}},
      {"top-k, not renormalised", {.rank = 3, .experts = 4, .gate = {GateRule::kTopK, 1, false}}},
      {"fixed threshold", {.rank = 3, .experts = 4, .gate = {GateRule::kFixedThreshold, 0, false, 0.25f}}},
  };
  for (const Family& family : families) {
    const AdapterWeights weights = RandomAdapter(15, kShape, family.options);
    const auto cuda_adapter = *cuda_->LoadAdapter(weights, kShape),
               cpu_adapter = *cpu_->LoadAdapter(weights, kShape);
    EXPECT_EQ(cuda_adapter->bytes(), cuda_->AdapterBytes(weights, kShape)) << family.name;
    Batch batch = TwoSequences();
    for (const auto& [group, in, out] :
         {std::tuple{ProjectionGroup::kQkv, 24, 64}, {ProjectionGroup::kDown, 40, 24}}) {
      Both x(*cuda_, DType::kBf16, kRows, in, 16), y(*cuda_, DType::kBf16, kRows, out, 17);
      batch.runs = {{0, 4, cuda_adapter->slot()}, {5, 6, cuda_adapter->slot(), 0.5f}};
      cuda_->BeginStep(batch, kInvFreq);
      cuda_->AddLora(y.cuda(), x.cuda(), 1, group);
      batch.runs = {{0, 4, cpu_adapter->slot()}, {5, 6, cpu_adapter->slot(), 0.5f}};
      cpu_->BeginStep(batch, kInvFreq);
      cpu_->AddLora(y.cpu(), x.cpu(), 1, group);
      const double s = family.options.size, ranks = family.options.rank * family.options.experts;
      y.Compare(*cuda_, 1.02 * kHalfUlp, kHalfUlp * 1.5 * in * s * ranks * s, family.name);
    }
  }
}

// How often this kernel has been launched; nullopt on a GPU, where nobody counts.
std::optional<int> Launches(const char* kernel) {
  const ptxsim_api* sim = ptxsim_get();
  if (sim == nullptr) return std::nullopt;
  int count = 0;
  ptxsim_counters launch;
  for (size_t i = 0; sim->launch(i, &launch) != 0; ++i) {
    count += std::string_view(launch.kernel).find(kernel) != std::string_view::npos;
  }
  return count;
}

// Long runs whose gates pick are regrouped where the zeros are many enough, beside runs that are not, in two
// terms: with the same bits.
TEST(CudaRegroupTest, WhetherRunsAreRegroupedIsInvisible) {
  constexpr int kManyRows = 420;
  const std::vector<RandomAdapterOptions> options = {
      {.rank = 4, .experts = 6, .gate = {GateRule::kTopK, 2, true}},
      {.rank = 5},
      {.rank = 3, .experts = 5, .shared_a = true, .gate = {GateRule::kSoftmax}, .router_bias = true},
      {.rank = 4, .experts = 3, .gate = {GateRule::kThreshold, 0, false, 0.4f}},
      {.rank = 4, .experts = 6, .gate = {GateRule::kFixedThreshold, 0, false, 0.2f}}};
  std::vector<std::vector<float>> results;
  for (const int64_t products : {int64_t{0}, int64_t{1} << 40}) {
    const auto opened =
        MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 1 << 20, .regroup_products = products});
    ASSERT_TRUE(opened.ok()) << opened.status();
    Backend& cuda = **opened;
    ASSERT_TRUE(cuda.Reserve({kManyRows, 8, 512, kBlock, 2, 4, 2, kHeadDim}).ok());
    std::vector<std::unique_ptr<DeviceAdapter>> adapters;
    for (const RandomAdapterOptions& o : options) {
      adapters.push_back(*cuda.LoadAdapter(RandomAdapter(50, kShape, o), kShape));
    }
    Batch batch;
    batch.tokens.assign(kManyRows, 1);
    batch.slots.assign(kManyRows, -1);
    for (int i = 0; i < kManyRows; ++i) batch.positions.push_back(i);
    batch.segments = {{0, kManyRows, 0, 0}};
    batch.block_tables.assign(kManyRows / kBlock, 0);
    batch.runs = {{0, 140, adapters[0]->slot()},
                  {140, 150, adapters[0]->slot(), 0.5f},
                  {150, 240, adapters[1]->slot()},
                  {240, 400, adapters[2]->slot(), 1, /*top_k=*/1},
                  {0, 200, adapters[3]->slot(), -0.5f}};
    batch.term_begin = {4};
    cuda.BeginStep(batch, kInvFreq);
    const int before = Launches("ExpandRegroupedKernel").value_or(0);
    for (const auto& [group, in, out] :
         {std::tuple{ProjectionGroup::kQkv, 24, 64}, {ProjectionGroup::kDown, 40, 24}}) {
      Both x(cuda, DType::kBf16, kManyRows, in, 51), y(cuda, DType::kBf16, kManyRows, out, 52);
      cuda.AddLora(y.cuda(), x.cuda(), 1, group);
      std::vector<float>& result = results.emplace_back(y.host().size());
      cuda.ReadBack(y.cuda(), result);
      EXPECT_NE(result, y.host());
    }
    if (const auto launched = Launches("ExpandRegroupedKernel")) {
      EXPECT_EQ(*launched - before, products == 0 ? 4 : 0) << "two groups, two terms";
    }
  }
  EXPECT_EQ(results[0], results[2]);
  EXPECT_EQ(results[1], results[3]);
}

// Two adapters over the same rows, one after the other; their gates are kept for the run that asks.
TEST_F(CudaBackendTest, ComposesAdaptersAndRecordsGates) {
  const RandomAdapterOptions options = {
      .rank = 4, .experts = 3, .shared_a = true, .gate = {GateRule::kSoftmax}};
  const auto plain = RandomAdapter(18, kShape, {.rank = 2}), routed = RandomAdapter(19, kShape, options);
  Both x(*cuda_, DType::kBf16, kRows, 24, 20), y(*cuda_, DType::kBf16, kRows, 64, 21);
  std::vector<float> gates[2];
  std::vector<std::unique_ptr<DeviceAdapter>> live;
  int i = 0;
  for (Backend* b : {cuda_.get(), cpu_.get()}) {
    live.push_back(*b->LoadAdapter(plain, kShape));
    live.push_back(*b->LoadAdapter(routed, kShape));
    Batch batch = TwoSequences();
    batch.runs = {{2, 6, live[2 * i]->slot(), 0.25f}, {2, 6, live[2 * i + 1]->slot(), 0.5f, 2, 0}};
    batch.term_begin = {1};
    b->BeginStep(batch, kInvFreq);
    const bool cuda = b == cuda_.get();
    for (const ProjectionGroup group : {ProjectionGroup::kQkv}) {
      for (int layer = 0; layer < 2; ++layer)
        b->AddLora(cuda ? y.cuda() : y.cpu(), cuda ? x.cuda() : x.cpu(), layer, group);
    }
    ASSERT_TRUE(b->FinishStep().ok());
    const auto recorded = b->Gates(0);
    gates[i++].assign(recorded.begin(), recorded.end());
  }
  // Coefficients: weight * scale * in * size, of all ranks of the one and, as gates add up to 1, of one
  // expert of the other; y is rounded twice on the way, when it is at most 2.
  const double coefficients = 0.25 * 0.5 * 2 + 0.5 * 1 * 4;
  y.Compare(*cuda_, 5 * kHalfUlp, kHalfUlp * (24 * 0.3 * coefficients * 0.3 + 2 * 2), "two adapters");
  const int count = live[3]->gate_count();
  ASSERT_EQ(gates[0].size(), static_cast<size_t>(4 * count));
  ASSERT_EQ(gates[1].size(), gates[0].size());
  for (const GatePlace& place : live[3]->gate_places()) {
    if (place.projection > Projection::kV) continue;  // of the groups that were asked for
    for (int r = 0; r < 4; ++r) {
      for (int e = 0; e < place.experts; ++e) {
        const size_t at = static_cast<size_t>(r) * count + place.begin + e;
        EXPECT_NEAR(gates[0][at], gates[1][at], 1e-5) << at;
      }
    }
  }
}

// Each layer's router picks from the stream, and its pick is what the layer's projections are adapted by.
TEST_F(CudaBackendTest, RoutesLayerByLayer) {
  Both x(*cuda_, DType::kF32, kRows, 24, 23), in(*cuda_, DType::kBf16, kRows, 24, 24);
  Both y(*cuda_, DType::kBf16, kRows, 64, 25);
  std::vector<double> sums[2];
  std::vector<int> picks[2];
  std::vector<std::unique_ptr<DeviceAdapter>> experts;
  std::vector<std::unique_ptr<Buffer>> rows;
  for (Backend* b : {cuda_.get(), cpu_.get()}) {
    const bool cuda = b == cuda_.get();
    Router router{.layers = 2, .rows = {}, .bias = {0, 0.5f, -0.5f, 0.25f, 0, 0}, .experts = {}};
    for (int e = 0; e < 3; ++e) {
      Both values(*cuda_, DType::kF32, 2, 24, 26 + e);
      rows.push_back(*b->LoadVector(values.host()));
      experts.push_back(*b->LoadAdapter(RandomAdapter(30 + e, kShape, {.rank = 2 + e}), kShape));
      router.rows.push_back(rows.back().get());
      router.experts.push_back(experts.back().get());
    }
    const RouterSlot slot = b->device_adapters().Add(router);
    Batch batch = TwoSequences();
    batch.runs = {{.row_begin = 4, .row_end = 7, .adapter = experts.back()->slot(), .decided_by = 0}};
    batch.probes = {{4, 7, slot.number(), 0, 3, true}};
    batch.probe_sums.assign(6, 0.125);
    b->BeginStep(batch, kInvFreq);
    for (int layer = 0; layer < 2; ++layer) {
      b->Route(cuda ? x.cuda() : x.cpu(), layer);
      b->AddLora(cuda ? y.cuda() : y.cpu(), cuda ? in.cuda() : in.cpu(), layer, ProjectionGroup::kQkv);
    }
    ASSERT_TRUE(b->FinishStep().ok());
    const Routed routed = b->Routes(0);
    sums[cuda ? 0 : 1].assign(routed.sums.begin(), routed.sums.end());
    picks[cuda ? 0 : 1].assign(routed.picks.begin(), routed.picks.end());
  }
  ASSERT_EQ(picks[0].size(), 2);
  EXPECT_EQ(picks[0], picks[1]);
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(sums[0][i], sums[1][i], 1e-12) << i;  // double, in other orders
  y.Compare(*cuda_, 3 * kHalfUlp, 2 * kHalfUlp * 24 * 0.3 * 4 * 0.3, "adapted by the picks");
}

// Rows of its own are exact in the stream and sums in f32 in the logits. A LoRA's coefficients are rounded
// once: at most rank * scale * 0.3 * 0.3 of them reach the stream; in lm_head they are sums over the input.
TEST_F(CudaBackendTest, ChangesTheEndsForTheRowsOfItsRuns) {
  AdapterShape shape = kShape;
  shape.vocab = 11;
  constexpr int kRank = 5;
  const std::vector<Family> families = {
      {"some rows", {.targets = {}, .embedding_tokens = {9, 0, 5}, .head_tokens = {7, 2}}},
      {"all rows", {.targets = {}, .embedding_tokens = {kAllTokens}, .head_tokens = {kAllTokens}}},
      {"embedding alone", {.targets = {}, .embedding_tokens = {4}}},
      {"lora", {.rank = kRank, .targets = {Projection::kEmbedding, Projection::kQ, Projection::kHead}}},
      {"scaled lora over rows",
       {.rank = kRank,
        .targets = {Projection::kEmbedding, Projection::kHead},
        .out_scale = true,
        .out_bias = true,
        .embedding_tokens = {0, 4},
        .head_tokens = {1}}},
  };
  for (const Family& family : families) {
    const AdapterWeights weights = RandomAdapter(33, shape, family.options);
    Both x(*cuda_, DType::kF32, kRows, 24, 34), last(*cuda_, DType::kBf16, 4, 24, 35);
    Both logits(*cuda_, DType::kF32, 4, 11, 36);
    for (Backend* b : {cuda_.get(), cpu_.get()}) {
      const bool cuda = b == cuda_.get();
      const auto adapter = *b->LoadAdapter(weights, shape);
      EXPECT_EQ(adapter->bytes(), b->AdapterBytes(weights, shape)) << family.name;
      Batch batch = TwoSequences();
      batch.logit_rows = {1, 3, 4, 6};  // of the second run none
      batch.runs = {{0, 4, adapter->slot()}, {5, 6, adapter->slot()}, {6, 7, adapter->slot()}};
      b->BeginStep(batch, kInvFreq);
      b->AdaptEmbedding(cuda ? x.cuda() : x.cpu());
      b->AdaptHead(cuda ? logits.cuda() : logits.cpu(), cuda ? last.cuda() : last.cpu());
    }
    const double coefficients = 0.5 * kRank * 0.3 * 0.3 * 1.5;
    x.Compare(*cuda_, 0x1p-21, kHalfUlp * coefficients, family.name);
    logits.Compare(*cuda_, 0x1p-21, 24 * 0x1p-22 + 2 * kHalfUlp * 24 * coefficients, family.name);
  }
}

// The same two adapters, weighted, on the rows of one sequence: in terms, and in lm_head in terms too.
TEST_F(CudaBackendTest, ComposesChangesOfTheEnds) {
  AdapterShape shape = kShape;
  shape.vocab = 11;
  const RandomAdapterOptions options = {.rank = 3, .targets = {Projection::kEmbedding, Projection::kHead}};
  Both x(*cuda_, DType::kF32, kRows, 24, 37), last(*cuda_, DType::kBf16, 2, 24, 38);
  Both logits(*cuda_, DType::kF32, 2, 11, 39);
  const auto before = x.host(), logits_before = logits.host();
  for (Backend* b : {cuda_.get(), cpu_.get()}) {
    const bool cuda = b == cuda_.get();
    const auto first = *b->LoadAdapter(RandomAdapter(40, shape, options), shape);
    const auto second = *b->LoadAdapter(RandomAdapter(41, shape, options), shape);
    Batch batch = TwoSequences();
    batch.runs = {{0, 4, first->slot(), 0.5f}, {0, 4, second->slot(), -2.f}};
    batch.term_begin = {1};
    b->BeginStep(batch, kInvFreq);
    b->AdaptEmbedding(cuda ? x.cuda() : x.cpu());
    b->AdaptHead(cuda ? logits.cuda() : logits.cpu(), cuda ? last.cuda() : last.cpu());
  }
  const double coefficients = 0.5 * 3 * 0.3 * 0.3 * 2.5;
  x.Compare(*cuda_, 0x1p-21, kHalfUlp * coefficients, "stream");
  logits.Compare(*cuda_, 0x1p-21, 24 * 0x1p-22 + 2 * kHalfUlp * 24 * coefficients, "logits");
  for (int c = 0; c < 24; ++c) {
    EXPECT_NE(x(0, c), before[c]) << "the first sequence's stream is changed";
    EXPECT_EQ(x(6, c), before[6 * 24 + c]) << "the second's is not";
  }
  EXPECT_NE(logits(0, 0), logits_before[0]);
  EXPECT_EQ(logits(1, 0), logits_before[11]);
}

TEST_F(CudaBackendTest, DrawsAsTheReferenceDoes) {
  SamplingParams greedy, nucleus, penal;
  greedy.temperature = 0;
  nucleus.top_p = 0.8f, nucleus.top_k = 20;
  penal.repetition_penalty = 1.3f, penal.frequency_penalty = 0.5f, penal.logit_bias = {{3, 4.f}};
  const std::vector<int32_t> prompt = {1, 2, 3}, generated = {4, 4, 5}, banned = {6};
  const std::vector<uint32_t> few = {0x80, 0, 0x5000, 1}, one = {0, 0, 0, 1};  // of token 96
  const std::vector<SampleRow> rows = {{&greedy, {}, {}, {}, 0, 0, 0},
                                       {&nucleus, {}, {}, {}, 7, 3, 2},
                                       {&penal, prompt, generated, banned, 9, 1, -1},
                                       {&nucleus, {}, {}, {}, 7, 3, 2, few},
                                       {&penal, prompt, generated, banned, 9, 1, 1, one}};
  Both logits(*cuda_, DType::kF32, 5, 97, 22, 6);
  const Batch batch = TwoSequences();
  Begin(batch);
  std::vector<Sampled> got(5), want(5);
  std::vector<Draw> draws;
  for (int32_t i = 0; i < 5; ++i) draws.push_back({i, rows[i]});
  cuda_->Sample(logits.cuda(), draws, {}, got, {});
  ASSERT_TRUE(cuda_->FinishStep().ok());
  cpu_->Sample(logits.cpu(), draws, {}, want, {});
  EXPECT_EQ(got[4].token, 96);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(got[i].token, want[i].token) << i;
    EXPECT_NEAR(got[i].logprob, want[i].logprob, 1e-5) << i;
    ASSERT_EQ(got[i].top.size(), want[i].top.size()) << i;
    for (size_t k = 0; k < got[i].top.size(); ++k) EXPECT_EQ(got[i].top[k].token, want[i].top[k].token) << i;
  }
}

// Also with a longer list than any before, between rows that are drawn from, and of tokens that no row has.
TEST_F(CudaBackendTest, ScoresAsTheReferenceDoes) {
  Both logits(*cuda_, DType::kF32, 6, 97, 42, 6);
  SamplingParams greedy;
  greedy.temperature = 0;
  const std::vector<Draw> draws = {{1, {&greedy, {}, {}, {}, 0, 0, 0}}, {4, {&greedy, {}, {}, {}, 0, 0, 1}}};
  const std::vector<ScoreRow> scores = {{0, 5, 0}, {2, -1, 2}, {3, 96, 97}, {5, 97, 2}};
  const Batch batch = TwoSequences();
  std::vector<Sampled> sampled[2], scored[2];
  for (Backend* b : {cuda_.get(), cpu_.get()}) {
    const bool cuda = b == cuda_.get();
    b->BeginStep(batch, kInvFreq);
    sampled[cuda].resize(draws.size()), scored[cuda].resize(scores.size());
    b->Sample(cuda ? logits.cuda() : logits.cpu(), draws, scores, sampled[cuda], scored[cuda]);
    ASSERT_TRUE(b->FinishStep().ok());
  }
  for (size_t i = 0; i < draws.size(); ++i) EXPECT_EQ(sampled[1][i].token, sampled[0][i].token) << i;
  EXPECT_EQ(scored[1][1].token, -1);
  EXPECT_EQ(scored[1][3].token, -1);
  for (const size_t i : {0, 2}) {
    const Sampled &got = scored[1][i], &want = scored[0][i];
    EXPECT_EQ(got.token, scores[i].token);
    EXPECT_NEAR(got.logprob, want.logprob, 1e-5);
    ASSERT_EQ(got.top.size(), want.top.size());
    for (size_t k = 0; k < got.top.size(); ++k) EXPECT_EQ(got.top[k].token, want.top[k].token) << k;
  }
}

}  // namespace
}  // namespace hydrad
