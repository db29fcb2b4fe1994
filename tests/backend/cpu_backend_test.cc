// What the backend adds to the kernels (which have tests of their own): that each op reads the batch, the
// views and the strides it is given.
#include "server/backend/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/types.h"
#include "server/backend/device_errors.h"
#include "tests/model/adapters.h"

namespace hydrad {
namespace {

constexpr double kInvFreq[] = {1.0, 0.25};

// A matrix of f32 inside wider rows, so that a stride mistaken for a width shows.
struct Padded {
  Padded(int rows, int cols) : values(static_cast<size_t>(rows) * (cols + 3), 99.f), rows(rows), cols(cols) {}
  Tensor tensor() { return {values.data(), DType::kF32, rows, cols, cols + 3}; }
  float& at(int r, int c) { return values[static_cast<size_t>(r) * (cols + 3) + c]; }
  std::vector<float> values;
  int rows, cols;
};

class CpuBackendTest : public ::testing::TestWithParam<DType> {
 protected:
  Batch Rows(std::vector<int32_t> tokens) {
    Batch batch;
    batch.tokens = std::move(tokens);
    batch.positions.resize(batch.tokens.size());
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.slots = batch.positions;
    batch.segments = {{0, batch.rows(), 0, 0}};
    batch.block_tables = {0, 1};
    return batch;
  }
  std::unique_ptr<Weight> Load(const std::vector<float>& values, int rows, int cols,
                               const std::vector<float>& bias = {}) {
    const HostMatrix matrix{values.data(), DType::kF32, rows, cols};
    return *backend_->LoadWeight({&matrix, 1}, bias);
  }
  std::unique_ptr<Backend> backend_ = MakeCpuBackend({.threads = 2, .weight_type = GetParam()});
};

TEST_P(CpuBackendTest, SaysWhatItIs) {
  EXPECT_EQ(backend_->activation_type(), DType::kF32);
  EXPECT_EQ(backend_->weight_format().name, Name(GetParam()));
  EXPECT_EQ(backend_->weight_format().bits, BitsOf(GetParam()));
  EXPECT_EQ(backend_->adapter_type(), GetParam());
  EXPECT_EQ(backend_->kv_type(), GetParam());
  EXPECT_NE(backend_->description().find("2 threads"), std::string::npos) << backend_->description();
}

TEST_P(CpuBackendTest, AWeightHoldsItsFormatsBytesAndItsBias) {
  const std::vector<float> values(32 * 64, 1.f), bias(32, 1.f);  // whole tiles of every instruction set
  const size_t plain = Load(values, 32, 64)->bytes();
  EXPECT_EQ(plain, backend_->weight_format().Bytes(32, 64));
  EXPECT_EQ(Load(values, 32, 64, bias)->bytes(), plain + bias.size() * sizeof(float));
}

// A product whose scratch no address space holds fails its step, and not the next.
TEST_P(CpuBackendTest, AStepWithoutMemoryForItsScratchFails) {
  const auto weight = Load(std::vector<float>(16, 1.f), 4, 4);
  const Batch batch = Rows({3, 0});
  Padded x(2, 4), y(2, 4);
  for (int c = 0; c < 4; ++c) x.at(0, c) = x.at(1, c) = 2;
  backend_->BeginStep(batch, kInvFreq);
  Tensor huge = x.tensor();
  huge.rows = 1 << 30;
  huge.cols = 1 << 24;
  backend_->Gemm(y.tensor(), huge, *weight);
  backend_->Gemm(y.tensor(), x.tensor(), *weight);
  EXPECT_EQ(backend_->FinishStep().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonGiven(backend_->FinishStep()), kDeviceError);
  backend_->BeginStep(batch, kInvFreq);
  backend_->Gemm(y.tensor(), x.tensor(), *weight);
  EXPECT_TRUE(backend_->FinishStep().ok());
  EXPECT_EQ(y.at(1, 3), 8);
}

TEST_P(CpuBackendTest, EmbedsTheTokensOfTheBatch) {
  std::vector<float> table(5 * 4);
  std::iota(table.begin(), table.end(), 0.f);
  const auto embedding = Load(table, 5, 4);
  const Batch batch = Rows({3, 0, 3});
  Padded out(3, 4);
  backend_->BeginStep(batch, kInvFreq);
  backend_->Embed(out.tensor(), *embedding);
  EXPECT_EQ(out.at(0, 1), 13);
  EXPECT_EQ(out.at(1, 3), 3);
  EXPECT_EQ(out.at(2, 0), 12);
  EXPECT_EQ(out.values[4], 99);
}

TEST_P(CpuBackendTest, MultipliesAndAddsTheBias) {
  const auto weight = Load({1, 2, 3, 4, 5, 6}, 2, 3, {10, 20});
  Padded x(2, 3), y(2, 2);
  for (int c = 0; c < 3; ++c) x.at(0, c) = 1, x.at(1, c) = static_cast<float>(c);
  backend_->Gemm(y.tensor(), x.tensor(), *weight);
  EXPECT_EQ(y.at(0, 0), 16);
  EXPECT_EQ(y.at(0, 1), 35);
  EXPECT_EQ(y.at(1, 0), 18);
  EXPECT_EQ(y.at(1, 1), 37);
}

TEST_P(CpuBackendTest, NormsByTheLoadedVector) {
  const auto weight = *backend_->LoadVector(std::vector<float>{2, 3});
  Padded x(1, 2);
  x.at(0, 0) = 3, x.at(0, 1) = 4;
  backend_->RmsNorm(x.tensor(), x.tensor(), *weight, 0);
  EXPECT_NEAR(x.at(0, 0), 2 * 3 / std::sqrt(12.5), 1e-6);
  EXPECT_NEAR(x.at(0, 1), 3 * 4 / std::sqrt(12.5), 1e-6);
}

TEST_P(CpuBackendTest, NormsTheRowsThatAreAskedFor) {
  const auto weight = *backend_->LoadVector(std::vector<float>{2, 3});
  Padded x(3, 2), y(2, 2);
  for (int r = 0; r < 3; ++r) x.at(r, 0) = r == 1 ? 5.f : 3.f, x.at(r, 1) = r == 2 ? 4.f : 0.f;
  const int32_t rows[] = {2, 1};
  backend_->RmsNormRows(y.tensor(), x.tensor(), rows, *weight, 0);
  EXPECT_NEAR(y.at(0, 0), 2 * 3 / std::sqrt(12.5), 1e-6);
  EXPECT_NEAR(y.at(0, 1), 3 * 4 / std::sqrt(12.5), 1e-6);
  EXPECT_NEAR(y.at(1, 0), 2 * 5 / std::sqrt(12.5), 1e-6);
  EXPECT_EQ(x.at(2, 0), 3);
}

// Each head by itself, with its own mean square; v is not normed.
TEST_P(CpuBackendTest, NormsTheHeadsWhereTheNetworkDoes) {
  const size_t bytes = BytesOf(2 * 4, GetParam());
  const auto k_memory = *backend_->Allocate(bytes), v_memory = *backend_->Allocate(bytes);
  const KvCacheView kv{
      {k_memory->data(), GetParam(), 2, 4, 4}, {v_memory->data(), GetParam(), 2, 4, 4}, 2, 1, 4};
  const auto q_norm = *backend_->LoadVector(std::vector<float>(4, 2.f));
  const auto k_norm = *backend_->LoadVector(std::vector<float>(4, 3.f));
  const Batch batch = Rows({0});
  Padded x(1, 16);  // two heads of q, one each of k and v
  for (int c = 0; c < 16; ++c) x.at(0, c) = static_cast<float>(1 + c / 4);
  backend_->BeginStep(batch, kInvFreq);
  backend_->RopeAndWriteKv(x.tensor(), {q_norm.get(), k_norm.get(), 0}, kv);
  for (const auto& [column, value] : {std::pair{1, 2.f}, {5, 2.f}, {9, 3.f}, {13, 4.f}}) {
    EXPECT_NEAR(x.at(0, column), value, 1e-6) << column;
  }
}

TEST_P(CpuBackendTest, AddsToTheStreamBeforeItNorms) {
  const auto weight = *backend_->LoadVector(std::vector<float>{2, 3});
  Padded x(1, 2), delta(1, 2), y(1, 2);
  x.at(0, 0) = 1, x.at(0, 1) = 2, delta.at(0, 0) = 2, delta.at(0, 1) = 2;
  backend_->AddRmsNorm(y.tensor(), x.tensor(), delta.tensor(), *weight, 0);
  EXPECT_EQ(x.at(0, 0), 3);
  EXPECT_EQ(x.at(0, 1), 4);
  EXPECT_NEAR(y.at(0, 1), 3 * 4 / std::sqrt(12.5), 1e-6);
}

TEST_P(CpuBackendTest, AddsTheAdapterToTheRowsOfItsRunOnly) {
  constexpr AdapterShape kShape{.layers = 1, .hidden = 4, .q_out = 4, .kv_out = 4, .ffn = 4};
  const auto weights = RandomAdapter(3, kShape, {.rank = 2, .targets = {Projection::kK}, .size = 1});
  const auto adapter = *backend_->LoadAdapter(weights, kShape);
  EXPECT_EQ(adapter->bytes(), backend_->AdapterBytes(weights, kShape));
  Batch batch = Rows({0, 0, 0});
  batch.runs = {{1, 2, adapter->slot()}};
  Padded x(3, 4), y(3, 12);
  std::fill(x.values.begin(), x.values.end(), 1.f);
  std::fill(y.values.begin(), y.values.end(), 0.f);
  backend_->BeginStep(batch, kInvFreq);
  backend_->AddLora(y.tensor(), x.tensor(), 0, ProjectionGroup::kQkv);
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 12; ++c) EXPECT_EQ(y.at(r, c) != 0, r == 1 && c >= 4 && c < 8) << r << " " << c;
  }
}

TEST_P(CpuBackendTest, RefusesAnAdapterOfAnotherModel) {
  const auto weights = RandomAdapter(3, {1, 4, 4, 4, 4}, {});
  EXPECT_EQ(backend_->LoadAdapter(weights, {1, 8, 4, 4, 4}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// One head each of q, k and v: q and k turn, v stays.
TEST_P(CpuBackendTest, RotatesByTheTableOfTheStep) {
  const size_t bytes = BytesOf(2 * 4, GetParam());
  const auto k_memory = *backend_->Allocate(bytes), v_memory = *backend_->Allocate(bytes);
  const KvCacheView kv{
      {k_memory->data(), GetParam(), 2, 4, 4}, {v_memory->data(), GetParam(), 2, 4, 4}, 2, 1, 4};
  const Batch batch = Rows({0, 0});
  Padded x(2, 12);
  for (int r = 0; r < 2; ++r) {
    for (int c = 0; c < 12; ++c) x.at(r, c) = c % 4 < 2 ? 1.f : 0.f;
  }
  backend_->BeginStep(batch, kInvFreq);
  backend_->RopeAndWriteKv(x.tensor(), {}, kv);
  for (const int head : {0, 4}) {
    EXPECT_EQ(x.at(0, head), 1);
    EXPECT_NEAR(x.at(1, head), std::cos(1.0), 1e-6);
    EXPECT_NEAR(x.at(1, head + 2), std::sin(1.0), 1e-6);
    EXPECT_NEAR(x.at(1, head + 3), std::sin(0.25), 1e-6);
  }
  EXPECT_EQ(x.at(1, 8), 1);
  EXPECT_EQ(x.at(1, 10), 0);
}

// One head, values equal to the position: with keys of zero the attention is the mean over the past.
TEST_P(CpuBackendTest, AttendsToWhatItWroteThroughTheBlockTable) {
  const size_t bytes = 2 * BytesOf(2 * 4, GetParam());  // two blocks of two positions of four numbers
  const auto k_memory = *backend_->Allocate(bytes), v_memory = *backend_->Allocate(bytes);
  const KvCacheView kv{
      {k_memory->data(), GetParam(), 4, 4, 4}, {v_memory->data(), GetParam(), 4, 4, 4}, 2, 1, 4};
  Batch batch = Rows({0, 0, 0});
  batch.block_tables = {1, 0};
  batch.slots = {2, 3, 0};
  Padded qkv(3, 12), out(3, 4);
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 12; ++c) qkv.at(r, c) = c < 8 ? 0 : static_cast<float>(r);
  }
  backend_->BeginStep(batch, kInvFreq);
  backend_->RopeAndWriteKv(qkv.tensor(), {}, kv);
  backend_->Attend(out.tensor(), qkv.tensor().Cols(0, 4), kv, 1);
  for (int r = 0; r < 3; ++r) EXPECT_NEAR(out.at(r, 2), 0.5 * r, 1e-6);
}

TEST_P(CpuBackendTest, CombinesGatesAndAdds) {
  Padded gate_up(2, 2), y(2, 1);
  gate_up.at(0, 0) = 1, gate_up.at(0, 1) = 2, gate_up.at(1, 0) = -1, gate_up.at(1, 1) = 3;
  backend_->SiluMul(y.tensor(), gate_up.tensor());
  EXPECT_NEAR(y.at(0, 0), 2 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(y.at(1, 0), -3 / (1 + std::exp(1.0)), 1e-6);
  const float before = y.at(0, 0);
  backend_->Add(y.tensor(), y.tensor());
  EXPECT_EQ(y.at(0, 0), 2 * before);
}

TEST_P(CpuBackendTest, DrawsFromEveryRowAndReadsBack) {
  Padded logits(2, 5);
  for (int c = 0; c < 5; ++c)
    logits.at(0, c) = static_cast<float>(c), logits.at(1, c) = static_cast<float>(-c);
  std::vector<float> copy(10);
  backend_->ReadBack(logits.tensor(), copy);
  EXPECT_EQ(copy, (std::vector<float>{0, 1, 2, 3, 4, 0, -1, -2, -3, -4}));
  SamplingParams greedy;
  greedy.temperature = 0;
  const SampleRow row{&greedy, {}, {}, {}, 0, 0, -1};
  const std::vector<Draw> draws = {{0, row}, {1, row}};
  std::vector<Sampled> out(2);
  backend_->Sample(logits.tensor(), draws, {}, out, {});
  ASSERT_TRUE(backend_->FinishStep().ok());
  EXPECT_EQ(out[0].token, 4);
  EXPECT_EQ(out[1].token, 0);
}

INSTANTIATE_TEST_SUITE_P(WeightTypes, CpuBackendTest, ::testing::Values(DType::kBf16, DType::kF32),
                         [](const auto& info) { return info.param == DType::kBf16 ? "bf16" : "f32"; });

}  // namespace
}  // namespace hydrad
