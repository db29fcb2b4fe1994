// The regrouped expansion against LoraExpand, whose bits it must have.
#include <bit>
#include <cstdio>

#include "tests/kernels/cuda/cuda_lora_cases.h"
#include "tests/ptxsim/ptxsim.h"

namespace hydrad {
namespace {

const AdapterSpec kAdapters[] = {
    {{{.out = 136, .ranks = {16, 16, 16, 16}, .gate = TopK(1, true)}}},
    {{{.out = 72, .ranks = {8, 8, 8, 8, 8, 8, 8, 8}, .gate = TopK(2, true)},
      {.out = 17, .ranks = {3, 5, 1, 2}, .gate = TopK(1, false), .out_bias = true},
      {.out = 64, .ranks = {4}}}},
    {{{.out = 64, .ranks = std::vector<int>(20, 9), .gate = TopK(3, true), .shared_a = true},
      {.out = 40, .ranks = {24, 40, 8}, .gate = Threshold(0.4), .out_scale = true, .gap = 8}}},
    {{{.out = 24, .ranks = std::vector<int>(70, 32), .gate = TopK(2, true), .shared_a = true}}},
    {{{.out = 40, .ranks = {6, 6, 6}, .gate = Softmax()}}, 1},
};

// One pass over the rows of x with z from LoraShrink, expanded in both ways.
class CudaLoraRegroupTest : public CudaTest {
 protected:
  void Prepare(const std::vector<TestRun>& runs, const Matrix<float>& x, int blocks) {
    rows_ = x.view().rows;
    std::vector<cuda::LoraGroup> groups;
    std::vector<cuda::LoraRun> planned;
    int z_cols = 8, down_rows = 1;
    for (const TestRun& r : runs) {
      groups.push_back(r.adapter->device_group());
      z_cols = std::max(z_cols, groups.back().z_cols);
      down_rows = std::max(down_rows, groups.back().down_rows);
    }
    const OnDevice<cuda::LoraGroup>& tables = groups_.emplace_back(groups);
    for (size_t i = 0; i < runs.size(); ++i) {
      planned.push_back({runs[i].row_begin, runs[i].row_end, tables.data() + i, nullptr, runs[i].weight,
                         runs[i].top_k, nullptr, 0});
    }
    std::vector<cuda::LoraTile> tiles(cuda::LoraTilesAtMost(static_cast<int>(runs.size()), rows_));
    cuda::LoraPlan plan{};
    cuda::PlanLoraTiles(planned, tiles.data(), &plan);
    plan.runs = runs_.emplace_back(planned).data();
    plan.tiles = tiles_.emplace_back(tiles).data();
    plan.down_rows[0] = down_rows;
    plan_ = plans_.emplace_back(std::vector<cuda::LoraPlan>{plan}).data();
    const auto& u = floats_.emplace_back(size_t(cuda::kLoraMaxSplits) * rows_ * down_rows);
    const auto& z = bf16s_.emplace_back(size_t(rows_) * z_cols);
    const auto& arrivals = ints_.emplace_back(std::vector<int32_t>(tiles.size(), 0));
    scratch_ = {u.data(), down_rows, z.data(), z_cols, arrivals.data(), rows_, blocks};
    const size_t places = size_t(cuda::kLoraRegroupMembers) * rows_;
    regrouped_ = {masks_.emplace_back(places).data(), ints_.emplace_back(places).data(),
                  ints_.emplace_back(std::vector<int32_t>(places, 0)).data(), rows_};
    const DeviceMatrix<bf16> in(x);
    Check(cuda::LoraShrink(plan_, {0, 0, 1}, in, scratch_, stream_));
    Finish();
  }
  Matrix<float> Expanded(const Matrix<float>& y) {
    const DeviceMatrix<bf16> out(y);
    Check(cuda::LoraExpand(out.view(), plan_, {0, 0, 1}, scratch_, stream_));
    Finish();
    return out.Read();
  }
  Matrix<float> Regrouped(const Matrix<float>& y) {
    const DeviceMatrix<bf16> out(y);
    Check(cuda::LoraRegroup(plan_, {0, 0, 1}, scratch_, regrouped_, stream_));
    Check(cuda::LoraExpandRegrouped(out.view(), plan_, {0, 0, 1}, scratch_, regrouped_, stream_));
    Finish();
    for (const int32_t left : ints_.back().Read()) EXPECT_EQ(left, 0);
    return out.Read();
  }
  static ptxsim_counters Last(const ptxsim_api& sim) {
    ptxsim_counters counters{};
    EXPECT_TRUE(sim.launch(sim.launches() - 1, &counters));
    return counters;
  }
  // Of the member: its rows in the order of their places, and what each row picked.
  std::vector<int32_t> Order(int member) const { return OfMember(ints_[ints_.size() - 2], member); }
  std::vector<uint64_t> Picked(int member) const { return OfMember(masks_.back(), member); }
  template <class T>
  std::vector<T> OfMember(const OnDevice<T>& memory, int member) const {
    const std::vector<T> all = memory.Read();
    return {all.begin() + member * rows_, all.begin() + (member + 1) * rows_};
  }

  int rows_ = 0;
  const cuda::LoraPlan* plan_ = nullptr;
  cuda::LoraScratch scratch_{};
  cuda::LoraRegrouped regrouped_{};
  std::deque<OnDevice<cuda::LoraGroup>> groups_;
  std::deque<OnDevice<cuda::LoraRun>> runs_;
  std::deque<OnDevice<cuda::LoraTile>> tiles_;
  std::deque<OnDevice<cuda::LoraPlan>> plans_;
  std::deque<OnDevice<float>> floats_;
  std::deque<OnDevice<bf16>> bf16s_;
  std::deque<OnDevice<int32_t>> ints_;
  std::deque<OnDevice<uint64_t>> masks_;
};

Matrix<float> Rows(int rows, int cols, uint64_t seed, float size = 1) {
  return Rounded(Matrix<float>::Random(rows, cols, seed, size, cols % 8 == 0 ? 8 : 1));
}

// Every family, gates that pick and gates that do not, runs of one tile and of several, a request's own
// top-k.
TEST_F(CudaLoraRegroupTest, HasTheBitsOfTheExpansion) {
  constexpr int kIn = 40;
  for (size_t a = 0; a < std::size(kAdapters); ++a) {
    const TestAdapter adapter(kIn, kAdapters[a], a);
    for (const int rows : {5, 64, 197}) {
      for (const int top_k : {0, 1}) {
        Prepare({{0, rows, &adapter, 0.5f, top_k}}, Rows(rows, kIn, rows, 0.5), 5);
        const auto y = Rows(rows, adapter.out(), 7);
        ExpectSame(Regrouped(y).view(), Expanded(y).view(),
                   "adapter " + std::to_string(a) + ", rows " + std::to_string(rows));
      }
    }
  }
}

// Rows of no run, several runs of different adapters, one of them split over all blocks.
TEST_F(CudaLoraRegroupTest, KeepsRunsApart) {
  constexpr int kIn = 32;
  const TestAdapter first(kIn, kAdapters[0], 1), second(kIn, kAdapters[1], 2), third(kIn, kAdapters[2], 3);
  const std::vector<TestRun> runs = {
      {3, 73, &first}, {73, 260, &second, 0.5f}, {262, 400, &first, -1.f}, {400, 410, &third}};
  const auto x = Rows(415, kIn, 4, 0.5), y = Rows(415, 160, 5);
  for (const int blocks : {1, 6, 40}) {
    Prepare(runs, x, blocks);
    ExpectSame(Regrouped(y).view(), Expanded(y).view(), std::to_string(blocks) + " blocks");
    for (const TestRun& run : runs) {
      std::vector<int32_t> order = Order(0);
      std::sort(order.begin() + run.row_begin, order.begin() + run.row_end);
      for (int row = run.row_begin; row < run.row_end; ++row) ASSERT_EQ(order[row], row) << "each row once";
    }
  }
}

// A coefficient may be zero and its expert picked all the same: the last of each expert has no A.
TEST_F(CudaLoraRegroupTest, ZerosOfAPickedExpertDoNotHideIt) {
  constexpr int kIn = 32;
  const TestAdapter adapter(kIn, kAdapters[0], 14);
  const LoraMember<bf16>& member = adapter.group().members.front();
  auto* down = const_cast<bf16*>(adapter.device_group().down);
  for (int e = 0; e < member.experts; ++e) {
    const int row = member.experts + member.rank_begin[e + 1] - 1;
    Check(cudaMemset(down + size_t(row) * kIn, 0, kIn * sizeof(bf16)));
  }
  Settle();
  Prepare({{0, 130, &adapter}}, Rows(130, kIn, 15, 0.5), 3);
  const auto y = Rows(130, adapter.out(), 16);
  const Matrix<float> got = Regrouped(y);
  ExpectSame(got.view(), Expanded(y).view(), "with zeros");
  for (const uint64_t picked : Picked(0)) EXPECT_EQ(std::popcount(picked), 1);
}

// One expert's part of U is NaN: in the tiles that hold no row that picked it nobody reads it. Rows that
// picked it stand side by side, so that these are most.
TEST_F(CudaLoraRegroupTest, LeavesOutWhatNoRowOfATilePicked) {
  constexpr int kIn = 32, kRows = 512, kExpert = 2;
  const TestAdapter adapter(kIn, kAdapters[0], 6);
  Prepare({{0, kRows, &adapter}}, Rows(kRows, kIn, 8, 0.5), 5);
  const auto y = Rows(kRows, adapter.out(), 9);
  const Matrix<float> want = Expanded(y);
  cuda::LoraMember member;
  Check(cudaMemcpy(&member, adapter.device_group().members, sizeof member, cudaMemcpyDeviceToHost));
  auto* up = const_cast<bf16*>(member.up) + size_t(16) * kExpert * member.out;
  Check(cudaMemset(up, 0xff, size_t(16) * member.out * sizeof(bf16)));
  Settle();
  const Matrix<float> got = Regrouped(y);
  const std::vector<int32_t> order = Order(0);
  const std::vector<uint64_t> picked = Picked(0);
  int untouched = 0, with_expert = 0;
  for (const uint64_t mask : picked) with_expert += mask >> kExpert & 1;
  for (int tile = 0; tile < kRows; tile += 64) {
    bool any = false;
    for (int i = tile; i < tile + 64; ++i) any = any || (picked[order[i]] >> kExpert & 1);
    for (int i = tile; i < tile + 64 && !any; ++i, ++untouched) {
      ExpectSame(got.view().Rows(order[i], 1), want.view().Rows(order[i], 1),
                 "row " + std::to_string(order[i]));
    }
  }
  EXPECT_GT(with_expert, 0);
  EXPECT_GE(untouched, kRows - with_expert - 2 * 64);
  EXPECT_GT(untouched, kRows / 2);
}

// Eight experts of 64 rows in the mean, of which a row picks one or two; a warp multiplies for 16 rows.
// Counted where ptxsim counts. With one each, a warp has rows of two experts where one ends, and of one
// elsewhere. With two, rows stand in the order of their pairs: 28 of 18 rows, so that three warps in four
// have two or more, of three or four experts together.
TEST_F(CudaLoraRegroupTest, MultipliesLess) {
  const ptxsim_api* sim = ptxsim_get();
  if (sim == nullptr) GTEST_SKIP() << "compares counts, which only tests/ptxsim keeps";
  sim->set_counting(1);
  for (const auto& [top_k, share] : {std::pair{1, 0.25}, {2, 0.5}}) {
    const TestAdapter adapter(
        32, {{{.out = 128, .ranks = std::vector<int>(8, 16), .gate = TopK(top_k, true)}}}, 11);
    Prepare({{0, 512, &adapter}}, Rows(512, 32, 12, 0.5), 5);
    const auto y = Rows(512, 128, 13);
    Expanded(y);
    const ptxsim_counters all = Last(*sim);
    Regrouped(y);
    const ptxsim_counters some = Last(*sim);
    std::printf("top %d: %.2f of the products, %.2f of the bytes read\n", top_k,
                static_cast<double>(some.mma) / all.mma,
                static_cast<double>(some.read_moved) / all.read_moved);
    EXPECT_LE(some.mma, share * all.mma);
    EXPECT_LT(some.read_moved, all.read_moved);
  }
}

}  // namespace
}  // namespace hydrad
