#include "kernels/lora.h"

#include "tests/kernels/cuda/cuda_lora_cases.h"

namespace hydrad {
namespace {

const AdapterSpec kAdapters[] = {
    {{{.out = 8, .ranks = {1}}}},
    {{{.out = 5, .ranks = {3}}, {.out = 17, .ranks = {9}}, {.out = 1, .ranks = {16}, .out_bias = true}}},
    {{{.out = 304, .ranks = {64}}, {.out = 200, .ranks = {136}}}},
    {{{.out = 96, .ranks = {8, 8, 8}, .gate = Softmax(), .shared_a = true}}},
    {{{.out = 40, .ranks = {5, 1, 7, 2}, .gate = Softmax(), .bias = true},
      {.out = 88, .ranks = {3, 3, 3, 3, 3, 3, 3}, .gate = Softmax(), .shared_a = true, .bias = true}}},
    {{{.out = 136, .ranks = {16, 16, 16, 16}, .gate = TopK(2, true)},
      {.out = 64, .ranks = {4, 4, 4}, .gate = TopK(1, false)}}},
    {{{.out = 64, .ranks = {2, 6, 4}, .gate = Threshold(0.4), .bias = true}, {.out = 64, .ranks = {4}}}},
    {{{.out = 64, .ranks = {2, 6, 4}, .gate = FixedThreshold(0.3)}, {.out = 64, .ranks = {4}}}},
    {{{.out = 72, .ranks = {8}, .out_scale = true, .out_bias = true},
      {.out = 640, .ranks = {16, 8}, .gap = 24}}},
    {{{.out = 64, .ranks = {16}}}, 1},
};

struct Result {
  Matrix<float> y, gates;
};

class CudaLoraTest : public CudaTest {
 protected:
  // One pass over the rows of x on the device, y of type Y. `gate_count` > 0: every run records into rows of
  // it.
  template <class Y = bf16>
  Result Run(const std::vector<TestRun>& runs, const Matrix<float>& y, const Matrix<float>& x,
             int gate_count = 0, int blocks = 5) {
    const int rows = x.view().rows;
    const DeviceMatrix<float> gates(Matrix<float>(rows, std::max(1, gate_count)));
    std::vector<cuda::LoraGroup> groups;
    cuda::LoraPlan plan{};
    int z_cols = 8, down_rows = 1;
    for (const TestRun& r : runs) {
      groups.push_back(r.adapter->device_group());
      z_cols = std::max(z_cols, groups.back().z_cols);
      down_rows = std::max(down_rows, groups.back().down_rows);
    }
    const OnDevice<cuda::LoraGroup> tables(groups);
    std::vector<cuda::LoraRun> planned;
    for (size_t i = 0; i < runs.size(); ++i) {
      float* record = gate_count > 0 ? gates.view().row(runs[i].row_begin) : nullptr;
      planned.push_back({runs[i].row_begin, runs[i].row_end, tables.data() + i, nullptr, runs[i].weight,
                         runs[i].top_k, record, gate_count});
    }
    std::vector<cuda::LoraTile> tiles(cuda::LoraTilesAtMost(static_cast<int>(runs.size()), rows) + 1);
    cuda::PlanLoraTiles(planned, tiles.data(), &plan);
    const OnDevice<cuda::LoraRun> run_list(planned);
    const OnDevice<cuda::LoraTile> tile_list(tiles);
    plan.runs = run_list.data();
    plan.tiles = tile_list.data();
    plan.down_rows[0] = runs.empty() ? 0 : down_rows;
    const OnDevice<cuda::LoraPlan> on_device(std::vector<cuda::LoraPlan>{plan});
    const OnDevice<float> u(size_t(cuda::kLoraMaxSplits) * rows * down_rows);
    const OnDevice<bf16> z(size_t(rows) * z_cols);
    const OnDevice<int32_t> arrivals(std::vector<int32_t>(tiles.size(), 0));
    const cuda::LoraScratch scratch{u.data(), down_rows, z.data(), z_cols, arrivals.data(), rows, blocks};
    const DeviceMatrix<bf16> in(x);
    const DeviceMatrix<Y> out(y);
    Check(cuda::LoraShrink(on_device.data(), {0, 0, 1}, in, scratch, stream_));
    Check(cuda::LoraExpand(out.view(), on_device.data(), {0, 0, 1}, scratch, stream_));
    Finish();
    for (const int32_t left : arrivals.Read()) EXPECT_EQ(left, 0);
    return {out.Read(), gates.Read()};
  }

  // The reference, and the bound of every element.
  template <class Y = bf16>
  void ExpectReference(const std::vector<TestRun>& runs, const Matrix<float>& y, const Matrix<float>& x,
                       const std::string& what, int blocks = 5) {
    const Matrix<float> got = Run<Y>(runs, y, x, 0, blocks).y;
    Matrix<float> want = y;
    std::vector<std::vector<double>> error(x.view().rows, std::vector<double>(y.view().cols, 0.0));
    for (const TestRun& r : runs) {
      const LoraRun<bf16> run{r.row_begin, r.row_end, &r.adapter->group(), r.weight, r.top_k};
      ref::AddLora<bf16>(want.view(), x.view(), {&run, 1});
      for (int row = r.row_begin; row < r.row_end; ++row) {
        error[row] = ErrorOfRow(run, x.view().row(row), y.view().cols);
      }
    }
    const double rounding = sizeof(Y) == 2 ? kUnitBf16 : 4 * kUnit;
    ExpectWithin(
        got.view(), want.view(),
        [&](int r, int c) {
          return error[r][c] * (1 + rounding) + rounding * std::fabs(want.view().row(r)[c]) + 1e-37;
        },
        what);
  }
};

Matrix<float> Rows(int rows, int cols, uint64_t seed, float size = 1, int gap = 0) {
  return Rounded(Matrix<float>::Random(rows, cols, seed, size, gap));
}

// Every family, over run lengths of each kind of tile, aligned and odd inputs, and more than one split of k.
TEST_F(CudaLoraTest, MatchesReference) {
  for (const int in : {1, 31, 64, 200, 1096, 577}) {
    for (size_t a = 0; a < std::size(kAdapters); ++a) {
      const TestAdapter adapter(in, kAdapters[a], 10 * in + a);
      for (const int rows : {1, 3, 4, 19}) {
        ExpectReference(
            {{0, rows, &adapter}}, Rows(rows, adapter.out(), rows + 1, 1, 8),
            Rows(rows, in, rows, 0.5, in % 8 == 0 ? 16 : 2),
            "in " + std::to_string(in) + " adapter " + std::to_string(a) + " rows " + std::to_string(rows));
      }
    }
  }
}

// Tiles of 64 rows, a run that does not split k, and an input long enough for a longer split.
TEST_F(CudaLoraTest, LongRunsMatchReference) {
  for (const int a : {2, 4, 5, 7}) {
    const TestAdapter adapter(136, kAdapters[a], a);
    for (const int rows : {70, 260}) {
      ExpectReference({{0, rows, &adapter}}, Rows(rows, adapter.out(), 1), Rows(rows, 136, 2, 0.5),
                      "adapter " + std::to_string(a) + " rows " + std::to_string(rows));
    }
  }
  const TestAdapter wide(5000, kAdapters[3], 1, 0.05);
  ExpectReference({{0, 6, &wide}}, Rows(6, wide.out(), 1), Rows(6, 5000, 2, 0.5), "in 5000");
  ExpectReference({{0, 2, &wide}}, Rows(2, wide.out(), 1), Rows(2, 5000, 2, 0.5), "in 5000, two rows");
}

TEST_F(CudaLoraTest, F32OutputMatchesReference) {
  for (size_t a = 0; a < std::size(kAdapters); ++a) {
    const TestAdapter adapter(48, kAdapters[a], a);
    for (const int rows : {2, 7, 40}) {
      ExpectReference<float>({{0, rows, &adapter}}, Matrix<float>::Random(rows, adapter.out(), 1, 1, 4),
                             Rows(rows, 48, 2, 0.5), "adapter " + std::to_string(a));
    }
  }
}

// A bias without coefficients, over several pieces of one block.
TEST_F(CudaLoraTest, BiasAloneMatchesReference) {
  const TestAdapter adapter(
      32, {{{.out = 1200, .ranks = {0}, .out_bias = true}, {.out = 8, .ranks = {4}, .out_bias = true}}}, 1);
  for (const int rows : {2, 6, 70}) {
    ExpectReference({{0, rows, &adapter, 0.5f}}, Rows(rows, adapter.out(), 1), Rows(rows, 32, 2, 0.5),
                    std::to_string(rows) + " rows", 1);
  }
}

// A mixed batch of every family and length: each against the reference, and rows of no run as they were.
TEST_F(CudaLoraTest, MixedBatchMatchesReference) {
  constexpr int kIn = 72, kOut = 736;
  std::deque<TestAdapter> adapters;
  for (size_t a = 0; a < std::size(kAdapters); ++a) adapters.emplace_back(kIn, kAdapters[a], a);
  std::vector<TestRun> runs;
  int at = 2;
  for (const int rows : {1, 4, 3, 1, 19, 6, 17, 2, 70, 1, 16, 5}) {
    const TestAdapter& adapter = adapters[runs.size() % adapters.size()];
    runs.push_back(
        {at, at + rows, &adapter, runs.size() % adapters.size() == 7 ? 1.f : 0.5f + 0.25f * (rows % 3)});
    at += rows + (runs.size() % 3 == 0);
  }
  for (const int blocks : {1, 7, 64}) {
    ExpectReference(runs, Rows(at + 1, kOut, 2), Rows(at + 1, kIn, 1, 0.5),
                    "blocks " + std::to_string(blocks), blocks);
  }
}

TEST_F(CudaLoraTest, ThousandRunsMatchReference) {
  constexpr int kIn = 24;
  std::deque<TestAdapter> adapters;
  for (int a = 0; a < 12; ++a) {
    adapters.emplace_back(
        kIn, AdapterSpec{{{.out = 16, .ranks = {1 + a % 5}}, {.out = 8, .ranks = {2, 3}, .gate = Softmax()}}},
        a);
  }
  std::vector<TestRun> runs;
  for (int i = 0; i < 1000; ++i) runs.push_back({i, i + 1, &adapters[i % 12]});
  ExpectReference(runs, Rows(1000, 24, 2), Rows(1000, kIn, 1), "1,000 runs", 32);
}

// What else is in the batch changes no bit of a row: alone in its run, next to others, over any number of
// blocks.
TEST_F(CudaLoraTest, RunAloneIsRunInBatch) {
  constexpr int kIn = 600, kOut = 736;
  std::deque<TestAdapter> adapters;
  for (size_t a = 0; a < std::size(kAdapters); ++a) adapters.emplace_back(kIn, kAdapters[a], a);
  std::vector<TestRun> runs;
  int at = 0;
  for (const int rows : {1, 3, 8, 1, 33, 2}) {
    runs.push_back({at, at + rows, &adapters[(runs.size() + 3) % adapters.size()]});
    at += rows;
  }
  const auto x = Rows(at, kIn, 1), y = Rows(at, kOut, 2);
  const Matrix<float> together = Run(runs, y, x, 0, 9).y;
  for (const TestRun& run : runs) {
    const Matrix<float> alone = Run({run}, y, x, 0, 2).y;
    ExpectSame(alone.view().Rows(run.row_begin, run.row_end - run.row_begin),
               together.view().Rows(run.row_begin, run.row_end - run.row_begin), "alone");
  }
}

TEST_F(CudaLoraTest, RecordsGatesAndFollowsARequestsTopK) {
  constexpr int kIn = 64;
  for (const int a : {3, 4, 5, 6}) {
    const TestAdapter adapter(kIn, kAdapters[a], a, 0.1);
    for (const int rows : {2, 9}) {
      for (const int top_k : {0, 1, 2}) {
        auto x = Rows(rows, kIn, 1, 0.5);
        std::fill_n(x.view().row(1), kIn, 0);  // all experts are equal but for a bias: the first of them
        const auto y = Rows(rows, adapter.out(), 2);
        const Result got = Run({{0, rows, &adapter, 0.5f, top_k}}, y, x, adapter.gates());
        Matrix<float> change = y, want(rows, adapter.gates());
        LoraRun<bf16> run{0, rows, &adapter.group(), 0.5f, top_k, want.view().data, want.view().stride};
        ref::AddLora<bf16>(change.view(), x.view(), {&run, 1});
        const std::string what = "adapter " + std::to_string(a) + " top_k " + std::to_string(top_k);
        // Logits of this size have errors far below 1e-5.
        ExpectWithin(
            got.gates.view(), want.view(), [](int, int) { return 1e-5; }, what + " gates");
        ExpectReference({{0, rows, &adapter, 0.5f, top_k}}, y, x, what);
      }
    }
  }
}

// The site picks the group, and a table by layer overrides the adapter; an adapter without members does
// nothing.
TEST_F(CudaLoraTest, SitePicksTheGroup) {
  constexpr int kIn = 32, kRows = 5, kKinds = 2;
  const TestAdapter first(kIn, kAdapters[0], 1), second(kIn, kAdapters[3], 2);
  const OnDevice<cuda::LoraGroup> a(
      std::vector<cuda::LoraGroup>{{}, first.device_group(), second.device_group(), {}});
  const OnDevice<cuda::LoraGroup> b(std::vector<cuda::LoraGroup>{{}, {}, {}, second.device_group()});
  const OnDevice<const cuda::LoraGroup*> by_layer(std::vector<const cuda::LoraGroup*>{nullptr, b.data()});
  const auto x = Rows(kRows, kIn, 1), y = Rows(kRows, 96, 2);
  const auto run = [&](const cuda::LoraGroup* const* table, int layer, int kind) {
    const OnDevice<cuda::LoraRun> runs(
        std::vector<cuda::LoraRun>{{0, kRows, a.data(), table, 1, 0, nullptr, 0}});
    std::vector<cuda::LoraTile> tiles(4);
    cuda::LoraPlan plan{.runs = runs.data(), .tiles = nullptr, .tile_count = {}, .down_rows = {64, 64}};
    cuda::PlanLoraTiles(runs.Read(), tiles.data(), &plan);
    const OnDevice<cuda::LoraTile> list(tiles);
    plan.tiles = list.data();
    const OnDevice<cuda::LoraPlan> plans(std::vector<cuda::LoraPlan>{plan});
    const OnDevice<float> u(size_t(cuda::kLoraMaxSplits) * kRows * 64);
    const OnDevice<bf16> z(kRows * 64);
    const OnDevice<int32_t> arrivals(std::vector<int32_t>(4, 0));
    const DeviceMatrix<bf16> in(x), out(y);
    const cuda::LoraScratch scratch{u.data(), 64, z.data(), 64, arrivals.data(), kRows, 3};
    Check(cuda::LoraShrink(plans.data(), {layer, kind, kKinds}, in, scratch, stream_));
    Check(cuda::LoraExpand(out.view(), plans.data(), {layer, kind, kKinds}, scratch, stream_));
    Finish();
    return out.Read();
  };
  const Matrix<float> with_first = Run({{0, kRows, &first}}, y, x).y,
                      with_second = Run({{0, kRows, &second}}, y, x).y;
  ExpectSame(run(nullptr, 0, 0).view(), y.view(), "no members");
  ExpectSame(run(nullptr, 0, 1).view(), with_first.view(), "layer 0");
  ExpectSame(run(nullptr, 1, 0).view(), with_second.view(), "layer 1");
  ExpectSame(run(by_layer.data(), 0, 1).view(), y.view(), "no table");
  ExpectSame(run(by_layer.data(), 1, 1).view(), with_second.view(), "the layer's own");
}

// A NaN in one row stays there.
TEST_F(CudaLoraTest, NanStaysInItsRow) {
  const TestAdapter adapter(64, kAdapters[4], 1);
  auto x = Rows(6, 64, 1);
  const auto y = Rows(6, adapter.out(), 2);
  const Matrix<float> clean = Run({{0, 6, &adapter}}, y, x).y;
  x.view().row(2)[5] = NAN;
  const Matrix<float> got = Run({{0, 6, &adapter}}, y, x).y;
  EXPECT_TRUE(std::isnan(got.view().row(2)[0]));
  for (const int r : {0, 1, 3, 4, 5})
    ExpectSame(got.view().Rows(r, 1), clean.view().Rows(r, 1), "other rows");
}

TEST_F(CudaLoraTest, NoRunsChangesNothing) {
  const auto y = Rows(3, 8, 1);
  ExpectSame(Run({}, y, y).y.view(), y.view(), "no runs");
}

TEST(PlanLoraTilesTest, ClassesAndCutsRuns) {
  std::vector<cuda::LoraRun> runs(5);
  const std::pair<int, int> rows[] = {{0, 3}, {3, 7}, {9, 10}, {10, 266}, {300, 365}};
  for (int i = 0; i < 5; ++i) runs[i].row_begin = rows[i].first, runs[i].row_end = rows[i].second;
  std::vector<cuda::LoraTile> tiles(cuda::LoraTilesAtMost(5, 365));
  cuda::LoraPlan plan{};
  cuda::PlanLoraTiles(runs, tiles.data(), &plan);
  EXPECT_EQ(plan.tile_count[0], 2);
  EXPECT_EQ(plan.tile_count[1], 3);
  EXPECT_EQ(plan.tile_count[2], 4);
  const auto expect = [&](int i, int run, int row, int count) {
    EXPECT_EQ(tiles[i].run, run);
    EXPECT_EQ(tiles[i].row, row);
    EXPECT_EQ(tiles[i].rows, count);
  };
  expect(0, 0, 0, 3);
  expect(1, 2, 9, 1);
  expect(2, 1, 3, 4);
  expect(3, 4, 300, 64);
  expect(4, 4, 364, 1);
  expect(5, 3, 10, 64);
  expect(8, 3, 202, 64);
}

}  // namespace
}  // namespace hydrad
