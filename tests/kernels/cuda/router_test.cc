#include <cmath>

#include "tests/kernels/cuda/cuda_cases.h"

namespace hydrad {
namespace {

class CudaRouterTest : public CudaTest {};

// Sums of rows in one piece and in two, and the choice.
TEST_F(CudaRouterTest, SumsRowsInOrderAndChooses) {
  constexpr int kExperts = 11, kCols = 70, kRows = 9;
  const auto x = Matrix<float>::Random(kRows, kCols, 1, 1, 3),
             routers = Matrix<float>::Random(kExperts, kCols, 2);
  const auto bias = Matrix<float>::Random(1, kExperts, 3, 2);
  const DeviceMatrix<float> values(x), weights(routers), biases(bias);
  std::vector<const float*> rows;
  std::vector<cuda::LoraGroup> tables(kExperts);
  const OnDevice<cuda::LoraGroup> groups(tables);
  std::vector<const cuda::LoraGroup*> choices;
  for (int e = 0; e < kExperts; ++e)
    rows.push_back(weights.view().row(e)), choices.push_back(groups.data() + e);
  const OnDevice<const float*> router(rows);
  const OnDevice<const cuda::LoraGroup*> choice_list(choices);
  const OnDevice<double> whole(std::vector<double>(kExperts, 0.5)), cut(std::vector<double>(kExperts, 0.5));
  const OnDevice<const cuda::LoraGroup*> chosen(std::vector<const cuda::LoraGroup*>(1));
  const OnDevice<int32_t> choice(std::vector<int32_t>{-1}), count(std::vector<int32_t>{2}),
      one(std::vector<int32_t>{1});
  const OnDevice<cuda::RouterProbe> probes(std::vector<cuda::RouterProbe>{
      {1, kRows, kExperts, kRows - 1, router.data(), biases.view().data, whole.data(), choice_list.data(),
       chosen.data(), choice.data()},
      {1, 4, kExperts, 1, router.data(), nullptr, cut.data(), nullptr, nullptr, nullptr}});
  const OnDevice<cuda::RouterProbe> rest(std::vector<cuda::RouterProbe>{
      {4, kRows, kExperts, 1, router.data(), nullptr, cut.data(), nullptr, nullptr, nullptr}});
  Check(cuda::ProbeRouters(probes.data(), count.data(), 5, values, stream_));
  Check(cuda::ProbeRouters(rest.data(), one.data(), 5, values, stream_));
  Finish();
  const std::vector<double> got = whole.Read(), pieces = cut.Read();
  int best = 0;
  for (int e = 0; e < kExperts; ++e) {
    double want = 0.5, size = 1;
    for (int r = 1; r < kRows; ++r) {
      for (int i = 0; i < kCols; ++i) {
        const double product = double{x.view().row(r)[i]} * routers.view().row(e)[i];
        want += product, size += std::fabs(product);
      }
    }
    EXPECT_NEAR(got[e], want, kCols * 0x1p-53 * size);
    EXPECT_EQ(pieces[e], got[e]);
    const auto logit = [&](int i) { return got[i] / (kRows - 1) + bias.view().data[i]; };
    if (logit(e) > logit(best)) best = e;
  }
  EXPECT_EQ(choice.Read()[0], best);
  EXPECT_EQ(chosen.Read()[0], groups.data() + best);
}

TEST_F(CudaRouterTest, TiesGoToTheLowerExpert) {
  const DeviceMatrix<float> x(Matrix<float>(1, 4));
  const OnDevice<float> zero(std::vector<float>(4, 0));
  const OnDevice<const float*> router(std::vector<const float*>(3, zero.data()));
  const OnDevice<double> sums(std::vector<double>(3, 0));
  const OnDevice<const cuda::LoraGroup*> choices(std::vector<const cuda::LoraGroup*>(3)), chosen(1);
  const OnDevice<int32_t> choice(std::vector<int32_t>{-1}), count(std::vector<int32_t>{1});
  const OnDevice<cuda::RouterProbe> probe(std::vector<cuda::RouterProbe>{
      {0, 1, 3, 1, router.data(), nullptr, sums.data(), choices.data(), chosen.data(), choice.data()}});
  Check(cuda::ProbeRouters(probe.data(), count.data(), 1, x, stream_));
  Finish();
  EXPECT_EQ(choice.Read()[0], 0);
}

}  // namespace
}  // namespace hydrad
