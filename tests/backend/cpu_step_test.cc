#include "server/backend/cpu/cpu_step.h"

#include <gtest/gtest.h>

#include "server/backend/cpu/packed_adapter.h"
#include "tests/model/adapters.h"

namespace hydrad {
namespace {

constexpr AdapterShape kShape{.layers = 2, .hidden = 8, .q_out = 8, .kv_out = 4, .ffn = 8};
constexpr double kInvFreq[] = {1.0, 0.5};

Batch FiveRows() {
  Batch batch;
  batch.tokens.assign(5, 0);
  batch.positions = {0, 1, 7, 0, 3};
  batch.segments = {{0, 2, 0, 0}, {2, 3, 7, 1}, {3, 5, 0, 3}};
  batch.block_tables = {4, 2, 9, 1};
  return batch;
}

TEST(Step, PointsSegmentsAtTheirBlocks) {
  const Batch batch = FiveRows();
  CpuStep<bf16> step;
  step.Begin(batch, kInvFreq, 1);
  ASSERT_EQ(step.segments().size(), 3);
  EXPECT_EQ(step.segments()[1].table[1], 9);
  EXPECT_EQ(step.segments()[2].table[0], 1);
  EXPECT_EQ(step.segments()[1].first_position, 7);
}

TEST(Step, TurnsEveryRowByItsPosition) {
  const Batch batch = FiveRows();
  CpuStep<bf16> step;
  step.Begin(batch, kInvFreq, 1);
  const Mat<const float> table = step.cos_sin();
  ASSERT_EQ(table.rows, 5);
  ASSERT_EQ(table.cols, 4);
  EXPECT_FLOAT_EQ(table.row(2)[1], std::cos(3.5f));
  EXPECT_FLOAT_EQ(table.row(2)[3], std::sin(3.5f));
  EXPECT_EQ(table.row(3)[0], 1);
}

TEST(Step, ListsOnlyRunsWhoseAdapterChangesTheGroup) {
  const auto attention = *PackedAdapter<bf16>::Pack(
      RandomAdapter(1, kShape, {.targets = {Projection::kQ, Projection::kO}}), kShape);
  const auto feed_forward = *PackedAdapter<bf16>::Pack(
      RandomAdapter(2, kShape, {.targets = {Projection::kUp, Projection::kO}}), kShape);
  Batch batch = FiveRows();
  batch.runs = {{0, 2, attention.get()}, {3, 5, feed_forward.get()}};
  CpuStep<bf16> step;
  step.Begin(batch, kInvFreq, 1);
  for (int layer = 0; layer < kShape.layers; ++layer) {
    ASSERT_EQ(step.runs(0, layer, ProjectionGroup::kQkv).size(), 1);
    EXPECT_EQ(step.runs(0, layer, ProjectionGroup::kQkv)[0].row_end, 2);
    ASSERT_EQ(step.runs(0, layer, ProjectionGroup::kO).size(), 2);
    EXPECT_EQ(step.runs(0, layer, ProjectionGroup::kO)[1].group,
              &feed_forward->group(layer, ProjectionGroup::kO));
    ASSERT_EQ(step.runs(0, layer, ProjectionGroup::kGateUp).size(), 1);
    EXPECT_EQ(step.runs(0, layer, ProjectionGroup::kGateUp)[0].row_begin, 3);
    EXPECT_TRUE(step.runs(0, layer, ProjectionGroup::kDown).empty());
  }
}

TEST(Step, ForgetsTheRunsOfTheStepBefore) {
  const auto adapter = *PackedAdapter<float>::Pack(RandomAdapter(1, kShape, {}), kShape);
  Batch with = FiveRows();
  with.runs = {{0, 5, adapter.get()}};
  const Batch without = FiveRows();
  CpuStep<float> step;
  step.Begin(with, kInvFreq, 1);
  EXPECT_FALSE(step.runs(0, 1, ProjectionGroup::kDown).empty());
  step.Begin(without, kInvFreq, 1);
  EXPECT_EQ(step.passes(), 0);
}

TEST(Step, GoesPassByPass) {
  const auto x = *PackedAdapter<float>::Pack(RandomAdapter(1, kShape, {}), kShape);
  const auto y = *PackedAdapter<float>::Pack(RandomAdapter(2, kShape, {}), kShape);
  Batch batch = FiveRows();
  batch.runs = {{0, 2, x.get()}, {2, 5, y.get()}, {0, 2, y.get()}};
  batch.runs[2].weight = 0.5f, batch.runs[2].top_k = 3;
  batch.pass_begin = {2};
  CpuStep<float> step;
  step.Begin(batch, kInvFreq, 1);
  ASSERT_EQ(step.passes(), 2);
  EXPECT_EQ(step.runs(0, 1, ProjectionGroup::kO).size(), 2);
  const auto second = step.runs(1, 1, ProjectionGroup::kO);
  ASSERT_EQ(second.size(), 1);
  EXPECT_EQ(second[0].group, &y->group(1, ProjectionGroup::kO));
  EXPECT_EQ(second[0].weight, 0.5f);
  EXPECT_EQ(second[0].top_k, 3);
}

// An adapter for each layer, told when its turn comes.
TEST(Step, ReadsTheAdapterOfTheLayer) {
  const auto x = *PackedAdapter<float>::Pack(RandomAdapter(1, kShape, {}), kShape);
  const auto y = *PackedAdapter<float>::Pack(RandomAdapter(2, kShape, {}), kShape);
  const DeviceAdapter* by_layer[] = {x.get(), nullptr};
  Batch batch = FiveRows();
  batch.runs = {{0, 2, nullptr, by_layer}};
  CpuStep<float> step;
  step.Begin(batch, kInvFreq, 1);
  EXPECT_EQ(step.runs(0, 0, ProjectionGroup::kO)[0].group, &x->group(0, ProjectionGroup::kO));
  by_layer[1] = y.get();
  EXPECT_EQ(step.runs(0, 1, ProjectionGroup::kO)[0].group, &y->group(1, ProjectionGroup::kO));
}

TEST(Step, GivesEveryRecordItsPlace) {
  const LoraGate gate{GateRule::kSoftmax};
  const auto x = *PackedAdapter<float>::Pack(
      RandomAdapter(1, kShape, {.experts = 2, .gate = gate, .targets = {Projection::kQ, Projection::kV}}),
      kShape);
  const auto y = *PackedAdapter<float>::Pack(
      RandomAdapter(2, kShape, {.experts = 3, .gate = gate, .targets = {Projection::kO}}), kShape);
  Batch batch = FiveRows();
  batch.runs = {{0, 2, x.get()}, {2, 3, x.get()}, {3, 5, y.get()}};
  batch.runs[0].gates = 0, batch.runs[2].gates = 1;
  CpuStep<float> step;
  step.Begin(batch, kInvFreq, 1);
  const auto first = step.gates(0), second = step.gates(1);
  EXPECT_EQ(first.size(), 2 * 8);
  EXPECT_EQ(second.size(), 2 * 6);
  const auto qkv = step.runs(0, 1, ProjectionGroup::kQkv);
  ASSERT_EQ(qkv.size(), 2);
  EXPECT_EQ(qkv[0].gates, first.data() + 4);
  EXPECT_EQ(qkv[0].gates_stride, 8);
  EXPECT_EQ(qkv[1].gates, nullptr);
  EXPECT_EQ(step.runs(0, 1, ProjectionGroup::kO)[0].gates, second.data() + 3);
}

}  // namespace
}  // namespace hydrad
