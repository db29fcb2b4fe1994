// How much the kernels move and how often they are launched, counted by tests/ptxsim: prints a table and
// fails beyond the budgets. On a GPU, where nothing counts, it is skipped.
//
// The floor is each tensor once. `distinct` is what memory must deliver (every 32-byte sector once a launch);
// `moved` is what the warps ask of the caches, so what a kernel reads again shows there.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <deque>
#include <numeric>

#include "kernels/cuda/kernels.h"
#include "server/backend/cuda/cuda_backend.h"
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
    if (sim_ == nullptr) GTEST_SKIP() << "nothing counts on a GPU";
    sim_->set_counting(1);
    sim_->clear_launches();
  }
  ~BudgetTest() override {
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
  // `moved` and `wavefronts`: what is allowed where it is more than the aim.
  void Hold(const char* what, const ptxsim_counters& c, size_t floor, double moved_limit = kTraffic,
            double conflict_limit = kConflicts) {
    const double bytes = static_cast<double>(floor);
    const double distinct = static_cast<double>(c.read_distinct + c.written_distinct) / bytes;
    const double moved = static_cast<double>(c.read_moved + c.written_moved) / bytes;
    const double conflicts =
        c.ideal_wavefronts == 0 ? 1
                                : static_cast<double>(c.wavefronts) / static_cast<double>(c.ideal_wavefronts);
    std::printf(
        "budget %-30s floor %7zu B  distinct %.3f of %.2f  moved %.3f of %.2f  wavefronts %.3f of %.2f\n",
        what, floor, distinct, kTraffic, moved, moved_limit, conflicts, conflict_limit);
    EXPECT_LE(distinct, kTraffic) << what;
    EXPECT_LE(moved, moved_limit) << what;
    EXPECT_LE(conflicts, conflict_limit) << what;
  }

  const ptxsim_api* sim_ = nullptr;
  std::vector<void*> memory_;
};

TEST_F(BudgetTest, Norms) {
  constexpr int kRows = 8, kCols = 2048;
  const auto x = Matrix<float>(kRows, kCols);
  const auto y = Matrix<bf16>(kRows, kCols), delta = Matrix<bf16>(kRows, kCols);
  const float* weight = Device<float>(kCols);
  const size_t weights = sizeof(float) * kCols;
  // Eight floats of a thread are two loads, and each asks for all sectors of both: the second is served by
  // L1. And every row's block reads the weights.
  HYDRAD_CHECK(cuda::RmsNorm(y, x, nullptr, weight, 1e-5f, nullptr) == cudaSuccess);
  Hold("rms_norm 8x2048", Launched(), kRows * kCols * 6 + weights, 2.8);
  HYDRAD_CHECK(cuda::AddRmsNorm(y, x, delta, weight, 1e-5f, nullptr) == cudaSuccess);
  Hold("add_rms_norm 8x2048", Launched(), kRows * kCols * 12 + weights, 2.3);
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
    // Partial sums of four stretches of k are written and read; the gates' tables come from L1 for every row,
    // and in a short run each of the four warps reads x.
    const size_t partial = sizeof(float) * 4 * rows * kRank;
    Hold(rows == 1 ? "shrink 1x2048 r16" : "shrink 64x2048 r16", Launched(),
         2 * (static_cast<size_t>(rows) * kIn + kRank * kIn + rows * kRank) + 2 * partial,
         rows == 1 ? 1.35 : 1.15);
    HYDRAD_CHECK(cuda::LoraExpand(y, on_device, {0, 0, 1}, scratch, nullptr) == cudaSuccess);
    // Every 128 columns (512 in a short run) read z and the tables; two halves of the ranks meet in shared
    // memory as pairs of 16-byte stores, which conflict in a short run.
    Hold(rows == 1 ? "expand 1x2048 r16" : "expand 64x2048 r16", Launched(),
         2 * (2 * static_cast<size_t>(rows) * kOut + kRank * kOut + rows * kRank), rows == 1 ? 1.2 : 1.15,
         rows == 1 ? 1.3 : kConflicts);
  }
}

TEST_F(BudgetTest, Attention) {
  constexpr int kKvHeads = 2, kGroup = 4, kDim = 64, kBlock = 16, kContext = 256;
  constexpr int kBlocks = kContext / kBlock;
  for (const int rows : {1, 16}) {  // decode; a chunk of a prompt at its end
    const auto q = Matrix<bf16>(rows, kKvHeads * kGroup * kDim),
               out = Matrix<bf16>(rows, kKvHeads * kGroup * kDim);
    const size_t side = static_cast<size_t>(kBlocks) * kKvHeads * kBlock * kDim;
    const KvLayer<bf16> kv = {Device<bf16>(side), Device<bf16>(side), kBlock, kKvHeads, kDim};
    const std::vector<cuda::AttentionSegment> segments = {{0, rows, kContext - rows, 0}};
    std::vector<int32_t> table(kBlocks);
    std::iota(table.begin(), table.end(), 0);
    std::vector<cuda::AttentionItem> items;
    std::vector<cuda::AttentionMerge> merges;
    cuda::PlanAttention(segments, kGroup, 64, &items, &merges);
    const cuda::AttentionPlan plan = {
        Device(segments), Device(table), Device(items), nullptr, static_cast<int>(items.size()), 0};
    ASSERT_TRUE(merges.empty());
    const cuda::AttentionScratch scratch = {Device<float>(64 * kKvHeads * kDim),
                                            Device<float2>(64 * kKvHeads), 64, 4};
    HYDRAD_CHECK(cuda::Attend(out, q, kv, Device<cuda::AttentionPlan>(1, &plan), 0.125f, scratch, nullptr) ==
                 cudaSuccess);
    // The block table is read once for every row of K and V. The parts of four warps that a single query
    // joins lie as pairs of 16 bytes, which conflict.
    Hold(rows == 1 ? "attend 1 row, 256 positions" : "attend 16 rows, 256 positions", Launched(1),
         2 * (2 * side + 2 * static_cast<size_t>(rows) * kKvHeads * kGroup * kDim), 1.1,
         rows == 1 ? 1.3 : kConflicts);
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
    TestSequence sequence{.tokens = {3, 4}, .adapter = with, .computed = 0, .blocks = {}};
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
