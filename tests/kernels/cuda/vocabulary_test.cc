#include <cmath>

#include "tests/kernels/cuda/cuda_cases.h"

namespace hydrad {
namespace {

class CudaVocabularyTest : public CudaTest {};

constexpr int kVocab = 40;

// Rows of their own for some tokens or for all, low-rank changes with and without them, and two adapters on
// one row.
TEST_F(CudaVocabularyTest, EmbeddingsAreThoseOfTheRuns) {
  for (const int hidden : {16, 33}) {
    constexpr int kRank = 5;
    const auto base = Matrix<float>::Random(6, hidden, 1, 1, 3);
    const auto own = Rounded(Matrix<float>::Random(kVocab, hidden, 2)),
               a = Rounded(Matrix<float>::Random(kVocab, kRank, 3));
    const auto up = Rounded(Matrix<float>::Random(kRank, hidden, 4));
    const auto scale = Matrix<float>::Random(1, hidden, 5), bias = Matrix<float>::Random(1, hidden, 6);
    const DeviceMatrix<bf16> own_rows(own), columns(a), ups(up);
    const DeviceMatrix<float> x(base), scales(scale), biases(bias);
    const std::vector<int32_t> tokens{7, 0, 39, 7, 12, 3};
    const OnDevice<int32_t> token_list(tokens), some(std::vector<int32_t>{3, 7, 30}),
        others(std::vector<int32_t>{2, 4});
    const OnDevice<cuda::VocabularyRun> runs(std::vector<cuda::VocabularyRun>{
        {0, 2, {own_rows.view().data, some.data(), 3}, nullptr, nullptr, 0, 0, 1, nullptr, nullptr},
        {1,
         5,
         {own_rows.view().data, nullptr, 13},
         columns.view().data,
         ups.view().data,
         kRank,
         0.5f,
         0.25f,
         scales.view().data,
         biases.view().data},
        {4, 5, {nullptr, nullptr, 0}, columns.view().data, ups.view().data, kRank, 2, 1, nullptr, nullptr},
        {5, 6, {own_rows.view().data, others.data(), 2}, nullptr, nullptr, 0, 0, 1, nullptr, nullptr}});
    const OnDevice<cuda::VocabularyPlan> plan({{.embedding = runs.data(), .embedding_count = 4}});
    Check(cuda::AdaptEmbedding(x, token_list.data(), plan.data(), stream_));
    Finish();
    Matrix<float> want = base, size(6, hidden);
    const auto take = [&](int r, int row) { std::copy_n(own.view().row(row), hidden, want.view().row(r)); };
    const auto add = [&](int r, double by, bool ends) {
      for (int c = 0; c < hidden; ++c) {
        double change = 0, products = 0;
        for (int j = 0; j < kRank; ++j) {
          const double p = double{a.view().row(tokens[r])[j]} * up.view().row(j)[c];
          change += p, products += std::fabs(p);
        }
        double y = want.view().row(r)[c] + by * change;
        size.view().row(r)[c] += std::fabs(want.view().row(r)[c]) + by * products;
        if (ends) y = y * scale.view().data[c] + 0.25 * bias.view().data[c];
        if (ends) size.view().row(r)[c] *= std::fabs(scale.view().data[c]);
        want.view().row(r)[c] = static_cast<float>(y);
      }
    };
    take(0, 1);                     // token 7 is the second of some
    take(1, 0), add(1, 0.5, true);  // token 0, by the run that has all up to 12
    add(2, 0.5, true);              // token 39 is beyond
    take(3, 7), add(3, 0.5, true);
    take(4, 12), add(4, 0.5, true), add(4, 2, false);
    // Token 3 stands between two that have a row, and keeps the base's.
    ExpectWithin(
        x.Read().view(), want.view(),
        [&](int r, int c) {
          return (kRank + 6) * kUnit * (size.view().row(r)[c] + 2 * std::fabs(want.view().row(r)[c]));
        },
        "hidden " + std::to_string(hidden));
  }
}

TEST_F(CudaVocabularyTest, LogitsOfOwnRowsReplaceTheBases) {
  for (const int hidden : {16, 264, 33}) {
    const auto x = Rounded(Matrix<float>::Random(21, hidden, 1, 1, hidden % 8 == 0 ? 8 : 1));
    const auto own = Rounded(Matrix<float>::Random(kVocab, hidden, 2)),
               base = Matrix<float>::Random(21, kVocab, 3);
    const DeviceMatrix<bf16> rows(x), own_rows(own);
    const DeviceMatrix<float> logits(base);
    const std::vector<int32_t> tokens{0, 9, 39};
    const OnDevice<int32_t> some(tokens);
    const OnDevice<cuda::VocabularyRun> runs(std::vector<cuda::VocabularyRun>{
        {.row_begin = 1, .row_end = 4, .own = {own_rows.view().data, some.data(), 3}},
        {.row_begin = 4, .row_end = 20, .own = {own_rows.view().data, nullptr, kVocab}}});
    const OnDevice<cuda::VocabularyPlan> plan({{.head = runs.data(), .head_count = 2}});
    Check(cuda::OwnLogits(logits, rows, plan.data(), 3, stream_));
    Finish();
    Matrix<float> want = base, size(21, kVocab);
    for (int r = 1; r < 20; ++r) {
      for (int n = 0; n < (r < 4 ? 3 : kVocab); ++n) {
        double sum = 0, products = 0;
        for (int k = 0; k < hidden; ++k) {
          const double p = double{x.view().row(r)[k]} * own.view().row(n)[k];
          sum += p, products += std::fabs(p);
        }
        const int token = r < 4 ? tokens[n] : n;
        want.view().row(r)[token] = static_cast<float>(sum);
        size.view().row(r)[token] = products;
      }
    }
    ExpectWithin(
        logits.Read().view(), want.view(),
        [&](int r, int c) { return (hidden / 32 + 10) * kUnit * size.view().row(r)[c]; },
        "hidden " + std::to_string(hidden));
  }
}

}  // namespace
}  // namespace hydrad
