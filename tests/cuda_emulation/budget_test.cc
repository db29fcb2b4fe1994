// How much the kernels move and how often they are launched, counted by tests/ptxsim: prints a table and
// fails beyond the budgets. On a GPU, where nothing counts, it is skipped.
//
// The floor is each tensor once. `distinct` is what memory must deliver (every 32-byte sector once a launch);
// `moved` is what the warps ask of the caches, so what a kernel reads again shows there, tables included.
// Grids are small, as if many requests kept every block busy.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <string>

#include "kernels/cuda/kernels.h"
#include "server/backend/cuda/cuda_backend.h"
#include "server/base/check.h"
#include "tests/model/adapters.h"
#include "tests/model/stepper.h"
#include "tests/ptxsim/ptxsim.h"

namespace hydrad {
namespace {

constexpr double kTraffic = 1.05, kConflicts = 1.1;

class BudgetTest : public testing::Test {
 protected:
  void SetUp() override {
    sim_ = ptxsim_get();
    if (sim_ == nullptr) GTEST_SKIP() << "compares counts, which only tests/ptxsim keeps";
    sim_->set_counting(1);
    sim_->clear_launches();
  }
  ~BudgetTest() override {
    PrintShared();
    for (void* p : memory_) cudaFree(p);
  }

  // `count` elements, zero unless given.
  template <class T>
  T* Device(size_t count, const T* values = nullptr) {
    void* p = nullptr;
    HYDRAD_CHECK(cudaMalloc(&p, count * sizeof(T)) == cudaSuccess);
    memory_.push_back(p);
    if (values == nullptr) cudaMemset(p, 0, count * sizeof(T));
    if (values != nullptr) cudaMemcpy(p, values, count * sizeof(T), cudaMemcpyHostToDevice);
    cudaStreamSynchronize(nullptr);
    return static_cast<T*>(p);
  }
  template <class T>
  T* Device(const std::vector<T>& values) {
    return Device(values.size(), values.data());
  }
  template <class T>
  Mat<T> Matrix(int rows, int cols) {
    return {Device<T>(static_cast<size_t>(rows) * cols), rows, cols, cols};
  }

  // The launch before last-but-`back`.
  ptxsim_counters Launched(size_t back = 0) {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(sim_->check(), 0u);
    ptxsim_counters c{};
    EXPECT_TRUE(sim_->launch(sim_->launches() - 1 - back, &c));
    return c;
  }
  // What budgets.py holds to its table: ptxas does not know of dynamic shared memory.
  void PrintShared() const {
    std::map<std::string, uint64_t> largest;
    ptxsim_counters c{};
    for (size_t i = 0; sim_ != nullptr && i < sim_->launches(); ++i) {
      if (!sim_->launch(i, &c) || c.blocks == 0) continue;
      uint64_t& most = largest[c.kernel];
      most = std::max(most, c.shared_bytes);
    }
    for (const auto& [kernel, bytes] : largest) {
      std::printf("shared %llu %s\n", static_cast<unsigned long long>(bytes), kernel.c_str());
    }
  }
  // `floor`: each tensor once. `repeated`: what more blocks than one must have, which therefore moves again.
  void Hold(const char* what, const ptxsim_counters& c, size_t floor, size_t repeated = 0) {
    const double distinct =
        static_cast<double>(c.read_distinct + c.written_distinct) / static_cast<double>(floor);
    const double moved =
        static_cast<double>(c.read_moved + c.written_moved) / static_cast<double>(floor + repeated);
    const double conflicts =
        c.ideal_wavefronts == 0 ? 1
                                : static_cast<double>(c.wavefronts) / static_cast<double>(c.ideal_wavefronts);
    std::printf(
        "budget %-30s floor %8zu B + %5zu  distinct %.3f of %.2f  moved %.3f of %.2f  wavefronts %.3f of "
        "%.2f\n",
        what, floor, repeated, distinct, kTraffic, moved, kTraffic, conflicts, kConflicts);
    EXPECT_LE(distinct, kTraffic) << what;
    EXPECT_LE(moved, kTraffic) << what;
    EXPECT_LE(conflicts, kConflicts) << what;
  }

  const ptxsim_api* sim_ = nullptr;
  std::vector<void*> memory_;
};

// Few rows have a block each, and each must have the weights. Where rows outnumber the blocks that hardly
// counts.
TEST_F(BudgetTest, Norms) {
  struct Case {
    int rows, cols, repeats;  // of the weights
    const char *norm, *add_norm;
  };
  for (const Case& c : {Case{8, 2048, 7, "rms_norm 8x2048", "add_rms_norm 8x2048"},
                        Case{4096, 256, 0, "rms_norm 4096x256", "add_rms_norm 4096x256"}}) {
    const auto x = Matrix<float>(c.rows, c.cols);
    const auto y = Matrix<bf16>(c.rows, c.cols), delta = Matrix<bf16>(c.rows, c.cols);
    const float* weight = Device<float>(c.cols);
    const size_t elements = static_cast<size_t>(c.rows) * c.cols, weights = sizeof(float) * c.cols;
    HYDRAD_CHECK(cuda::RmsNorm(y, x, nullptr, weight, 1e-5f, nullptr) == cudaSuccess);
    Hold(c.norm, Launched(), 6 * elements + weights, c.repeats * weights);
    HYDRAD_CHECK(cuda::AddRmsNorm(y, x, delta, weight, 1e-5f, nullptr) == cudaSuccess);
    Hold(c.add_norm, Launched(), 12 * elements + weights, c.repeats * weights);
  }
}

// One adapter of rank 16 on one projection of 2048 x 2048.
TEST_F(BudgetTest, Adapters) {
  constexpr int kIn = 2048, kOut = 2048, kRank = 16;
  for (const int rows : {1, 64}) {
    const auto x = Matrix<bf16>(rows, kIn), y = Matrix<bf16>(rows, kOut);
    const std::vector<float> scale = {1};
    const std::vector<int32_t> ranks = {0, kRank};
    std::vector<cuda::LoraMember> members(1);
    members[0] = {.down_begin = 0,
                  .out_begin = 0,
                  .out = kOut,
                  .experts = 1,
                  .z_begin = 0,
                  .gate_begin = 0,
                  .rank_begin = Device(ranks),
                  .gate = {},
                  .shared_a = true,
                  .scale = Device(scale),
                  .router_bias = nullptr,
                  .up = Device<bf16>(kRank * kOut),
                  .out_scale = nullptr,
                  .out_bias = nullptr};
    const std::vector<bf16> ones(static_cast<size_t>(kRank) * kIn, ToBf16(1));  // a zero z is not multiplied
    const std::vector<bf16> x_ones(static_cast<size_t>(rows) * kIn, ToBf16(1));
    cudaMemcpy(x.data, x_ones.data(), x_ones.size() * 2, cudaMemcpyHostToDevice);
    cudaStreamSynchronize(nullptr);
    const std::vector<cuda::LoraGroup> groups = {{Device(ones), kRank, kIn, Device(members), 1, kRank}};
    const std::vector<cuda::LoraRun> runs = {{0, rows, Device(groups), nullptr, 1, 0, nullptr, 0}};
    cuda::LoraPlan plan{};
    std::vector<cuda::LoraTile> tiles(cuda::LoraTilesAtMost(1, rows));
    cuda::PlanLoraTiles(runs, tiles.data(), &plan);
    plan.runs = Device(runs), plan.tiles = Device(tiles), plan.down_rows[0] = kRank;
    const cuda::LoraPlan* on_device = Device<cuda::LoraPlan>(1, &plan);
    const cuda::LoraScratch scratch = {
        Device<float>(8 * rows * 64), 64, Device<bf16>(rows * 64), 64, Device<int32_t>(8), rows, 4};
    HYDRAD_CHECK(cuda::LoraShrink(on_device, {0, 0, 1}, x, scratch, nullptr) == cudaSuccess);
    // Partial sums of four stretches of k are written and read.
    const size_t partial = sizeof(float) * 4 * rows * kRank;
    Hold(rows == 1 ? "shrink 1x2048 r16" : "shrink 64x2048 r16", Launched(),
         2 * (static_cast<size_t>(rows) * kIn + kRank * kIn + rows * kRank) + 2 * partial);
    HYDRAD_CHECK(cuda::LoraExpand(y, on_device, {0, 0, 1}, scratch, nullptr) == cudaSuccess);
    Hold(rows == 1 ? "expand 1x2048 r16" : "expand 64x2048 r16", Launched(),
         2 * (2 * static_cast<size_t>(rows) * kOut + kRank * kOut + rows * kRank));
  }
}

TEST_F(BudgetTest, Attention) {
  constexpr int kKvHeads = 2, kGroup = 4, kBlock = 16, kContext = 256, kBlocks = kContext / kBlock;
  struct Case {
    int rows, dim;
    const char* what;
  };
  for (const Case& c : {Case{1, 64, "attend 1 row, 256 positions"}, Case{1, 128, "... head_dim 128"},
                        Case{1, 256, "... head_dim 256"}, Case{16, 64, "attend 16 rows, 256 positions"},
                        Case{16, 128, "... head_dim 128"}}) {  // decode; a chunk of a prompt at its end
    const int cols = kKvHeads * kGroup * c.dim;
    const auto q = Matrix<bf16>(c.rows, cols), out = Matrix<bf16>(c.rows, cols);
    const size_t side = static_cast<size_t>(kBlocks) * kKvHeads * kBlock * c.dim;
    const KvLayer<bf16> kv = {Device<bf16>(side), Device<bf16>(side), kBlock, kKvHeads, c.dim};
    const std::vector<cuda::AttentionSegment> segments = {{0, c.rows, kContext - c.rows, 0}};
    std::vector<int32_t> table(kBlocks);
    std::iota(table.begin(), table.end(), 0);
    std::vector<cuda::AttentionItem> items;
    std::vector<cuda::AttentionMerge> merges;
    cuda::PlanAttention(segments, kGroup, 64, &items, &merges);
    const cuda::AttentionPlan plan = {
        Device(segments), Device(table), Device(items), nullptr, static_cast<int>(items.size()), 0};
    ASSERT_TRUE(merges.empty());
    const cuda::AttentionScratch scratch = {Device<float>(64 * kKvHeads * c.dim),
                                            Device<float2>(64 * kKvHeads), 64, 4};
    HYDRAD_CHECK(cuda::Attend(out, q, kv, Device<cuda::AttentionPlan>(1, &plan), 0.125f, scratch, nullptr) ==
                 cudaSuccess);
    Hold(c.what, Launched(1), 2 * (2 * side + 2 * static_cast<size_t>(c.rows) * cols));
  }
}

// Launches of a decode step of the small model: counted by layers, so that a new launch in a layer shows.
TEST_F(BudgetTest, LaunchesPerStep) {
  auto opened = MakeCudaBackend({.memory_fraction = 0.5, .adapter_bytes = 1 << 20, .graphs = false});
  ASSERT_TRUE(opened.ok()) << opened.status();
  auto model = LoadTransformer("tests/golden/models/llama", **opened,
                               {.max_rows = 8, .max_logit_rows = 8, .kv_blocks = 8});
  ASSERT_TRUE(model.ok());
  const int layers = (*model)->config().num_layers;
  const AdapterShape shape = (*model)->config().adapter_shape();
  const auto adapter = *(*opened)->LoadAdapter(RandomAdapter(1, shape, {}), shape);
  for (const DeviceAdapter* with :
       {static_cast<const DeviceAdapter*>(nullptr), static_cast<const DeviceAdapter*>(adapter.get())}) {
    BlockPool pool(8);
    TestSequence sequence{.tokens = {3, 4}, .adapter = with};
    const Chunk one{&sequence, 1};
    RunStep(**model, pool, {&one, 1});
    cudaDeviceSynchronize();
    sim_->clear_launches();
    RunStep(**model, pool, {&one, 1});
    cudaDeviceSynchronize();
    // norm, q/k/v, rope and cache, attend, its merge, o, norm, gate/up, silu, down; two for each of the four
    // groups of projections that an adapter changes.
    const int per_layer = 10 + (with == nullptr ? 0 : 8), around = 4;  // embed, add, last norm, logits
    const int launches = static_cast<int>(sim_->launches());
    std::printf(
        "budget launches %-18s %d a layer, %d a step of %d layers (floor: 9 and 1 more for split contexts)\n",
        with == nullptr ? "without adapters" : "with an adapter", (launches - around) / layers, launches,
        layers);
    EXPECT_EQ(launches, layers * per_layer + around);
  }
}

}  // namespace
}  // namespace hydrad
