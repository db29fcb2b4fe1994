#include "server/backend/cpu/cpu_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

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

class CpuStepTest : public testing::Test {
 protected:
  template <class T>
  std::unique_ptr<PackedAdapter<T>> Pack(const AdapterWeights& weights) {
    auto packed = *PackedAdapter<T>::Pack(weights, kShape);
    held_.Add(*packed);
    return packed;
  }
  DeviceAdapters held_;
};

TEST_F(CpuStepTest, PointsSegmentsAtTheirBlocks) {
  const Batch batch = FiveRows();
  CpuStep<bf16> step(held_);
  step.Begin(batch, kInvFreq);
  ASSERT_EQ(step.segments().size(), 3);
  EXPECT_EQ(step.segments()[1].table[1], 9);
  EXPECT_EQ(step.segments()[2].table[0], 1);
  EXPECT_EQ(step.segments()[1].first_position, 7);
}

TEST_F(CpuStepTest, TurnsEveryRowByItsPosition) {
  const Batch batch = FiveRows();
  CpuStep<bf16> step(held_);
  step.Begin(batch, kInvFreq);
  const Mat<const float> table = step.cos_sin();
  ASSERT_EQ(table.rows, 5);
  ASSERT_EQ(table.cols, 4);
  EXPECT_FLOAT_EQ(table.row(2)[1], std::cos(3.5f));
  EXPECT_FLOAT_EQ(table.row(2)[3], std::sin(3.5f));
  EXPECT_EQ(table.row(3)[0], 1);
}

TEST_F(CpuStepTest, ListsOnlyRunsWhoseAdapterChangesTheGroup) {
  const auto attention = Pack<bf16>(RandomAdapter(1, kShape, {.targets = {Projection::kQ, Projection::kO}}));
  const auto feed_forward =
      Pack<bf16>(RandomAdapter(2, kShape, {.targets = {Projection::kUp, Projection::kO}}));
  Batch batch = FiveRows();
  batch.runs = {{0, 2, attention->slot()}, {3, 5, feed_forward->slot()}};
  CpuStep<bf16> step(held_);
  step.Begin(batch, kInvFreq);
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

TEST_F(CpuStepTest, ForgetsTheRunsOfTheStepBefore) {
  const auto adapter = Pack<float>(RandomAdapter(1, kShape, {}));
  Batch with = FiveRows();
  with.runs = {{0, 5, adapter->slot()}};
  const Batch without = FiveRows();
  CpuStep<float> step(held_);
  step.Begin(with, kInvFreq);
  EXPECT_FALSE(step.runs(0, 1, ProjectionGroup::kDown).empty());
  step.Begin(without, kInvFreq);
  EXPECT_EQ(step.terms(), 0);
}

TEST_F(CpuStepTest, GoesTermByTerm) {
  const auto x = Pack<float>(RandomAdapter(1, kShape, {}));
  const auto y = Pack<float>(RandomAdapter(2, kShape, {}));
  Batch batch = FiveRows();
  batch.runs = {{0, 2, x->slot()}, {2, 5, y->slot()}, {0, 2, y->slot()}};
  batch.runs[2].weight = 0.5f, batch.runs[2].top_k = 3;
  batch.term_begin = {2};
  CpuStep<float> step(held_);
  step.Begin(batch, kInvFreq);
  ASSERT_EQ(step.terms(), 2);
  EXPECT_EQ(step.runs(0, 1, ProjectionGroup::kO).size(), 2);
  const auto second = step.runs(1, 1, ProjectionGroup::kO);
  ASSERT_EQ(second.size(), 1);
  EXPECT_EQ(second[0].group, &y->group(1, ProjectionGroup::kO));
  EXPECT_EQ(second[0].weight, 0.5f);
  EXPECT_EQ(second[0].top_k, 3);
}

TEST_F(CpuStepTest, ReadsTheAdapterOfTheLayer) {
  const auto x = Pack<float>(RandomAdapter(1, kShape, {}));
  const auto y = Pack<float>(RandomAdapter(2, kShape, {}));
  Batch batch = FiveRows();
  batch.runs = {{.row_begin = 0, .row_end = 2, .adapter = x->slot(), .by_layer = 1}};
  batch.layer_adapters = {x->slot(), y->slot(), x->slot()};
  CpuStep<float> step(held_);
  step.Begin(batch, kInvFreq);
  EXPECT_EQ(step.runs(0, 0, ProjectionGroup::kO)[0].group, &y->group(0, ProjectionGroup::kO));
  EXPECT_EQ(step.runs(0, 1, ProjectionGroup::kO)[0].group, &x->group(1, ProjectionGroup::kO));
}

// An adapter for each layer, told when its turn comes, by the second of two probes.
TEST_F(CpuStepTest, ReadsWhatAProbePicks) {
  const auto x = Pack<float>(RandomAdapter(1, kShape, {}));
  const auto y = Pack<float>(RandomAdapter(2, kShape, {}));
  const Router router{
      .layers = 2, .rows = {nullptr, nullptr}, .bias = {0, 0, 0, 0}, .experts = {x.get(), y.get()}};
  const RouterSlot slot = held_.Add(router);
  Batch batch = FiveRows();
  batch.runs = {{.row_begin = 3, .row_end = 5, .adapter = x->slot(), .decided_by = 1}};
  batch.probes = {{0, 2, slot.number(), 0, 2, false}, {3, 5, slot.number(), 4, 2, true}};
  batch.probe_sums = {1, 2, 3, 4, 5, 6, 7, 8};
  CpuStep<float> step(held_);
  step.Begin(batch, kInvFreq);
  step.sums(1, 1)[0] += 10;
  step.Pick(1, 0, 1);
  EXPECT_EQ(step.runs(0, 0, ProjectionGroup::kO)[0].group, &y->group(0, ProjectionGroup::kO));
  step.Pick(1, 1, 0);
  EXPECT_EQ(step.runs(0, 1, ProjectionGroup::kO)[0].group, &x->group(1, ProjectionGroup::kO));
  EXPECT_THAT(step.routed(0).sums, testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(step.routed(0).picks, testing::IsEmpty());
  EXPECT_THAT(step.routed(1).sums, testing::ElementsAre(5, 6, 17, 8));
  EXPECT_THAT(step.routed(1).picks, testing::ElementsAre(1, 0));
}

TEST_F(CpuStepTest, GivesEveryRecordItsPlace) {
  const LoraGate gate{GateRule::kSoftmax};
  const auto x = Pack<float>(
      RandomAdapter(1, kShape, {.experts = 2, .gate = gate, .targets = {Projection::kQ, Projection::kV}}));
  const auto y =
      Pack<float>(RandomAdapter(2, kShape, {.experts = 3, .gate = gate, .targets = {Projection::kO}}));
  Batch batch = FiveRows();
  batch.runs = {{0, 2, x->slot()}, {2, 3, x->slot()}, {3, 5, y->slot()}};
  batch.runs[0].gates = 0, batch.runs[2].gates = 1;
  CpuStep<float> step(held_);
  step.Begin(batch, kInvFreq);
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
