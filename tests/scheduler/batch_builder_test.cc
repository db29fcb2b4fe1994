#include "server/scheduler/batch_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "tests/fakes/fake_claim.h"
#include "tests/fakes/fake_model.h"
#include "tests/fakes/test_tokenizer.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int kBlockSize = 4;

class BatchBuilderTest : public testing::Test {
 protected:
  // Whose next rows a test runs.
  Sequence& Make(SequenceId id, std::vector<int32_t> prompt,
                 std::shared_ptr<const AdapterGeneration> adapter = nullptr, int prompt_logprobs = -1) {
    Request& request = requests_.emplace_back();
    request.prompt = std::move(prompt);
    request.stopping.max_tokens = 100;
    request.output.prompt_logprobs = prompt_logprobs;
    request.adapter = HandleOn(std::move(adapter));
    EXPECT_TRUE(request.BindAdapters());
    EndTokens& ends = ends_.emplace_back(request.stopping, std::span<const int32_t>(), /*formed=*/false);
    Sequence& sequence = sequences_.emplace_back(id, request, ends, 0, *tokenizer_);
    sequence.Start();
    return sequence;
  }
  static std::shared_ptr<const AdapterGeneration> Adapter() {
    auto made = std::make_shared<AdapterGeneration>();
    made->device = std::make_unique<FakeAdapter>(1);
    return made;
  }
  BatchBuilder::Part Part(Sequence& sequence, int rows, uint64_t order = 0) {
    EXPECT_TRUE(sequence.Reserve(rows, kBlockSize, pool_));
    return {&sequence, rows, order};
  }

  BlockPool pool_{32};
  const std::unique_ptr<const Tokenizer> tokenizer_ = MakeTestTokenizer();
  std::deque<Request> requests_;
  std::deque<EndTokens> ends_;
  std::deque<Sequence> sequences_;
  BatchBuilder builder_{kBlockSize};
};

TEST_F(BatchBuilderTest, AChunkOfAPrompt) {
  Sequence& sequence = Make(1, {10, 11, 12, 13, 14, 15, 16});
  std::vector<BatchBuilder::Part> parts = {Part(sequence, 5)};
  builder_.Build(parts);
  const Batch& batch = builder_.batch();
  const int first = sequence.blocks()[0], second = sequence.blocks()[1];
  EXPECT_THAT(batch.tokens, ElementsAre(10, 11, 12, 13, 14));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(batch.slots, ElementsAre(first * 4, first * 4 + 1, first * 4 + 2, first * 4 + 3, second * 4));
  EXPECT_THAT(batch.block_tables, ElementsAre(first, second));
  EXPECT_THAT(batch.logit_rows, IsEmpty()) << "the prompt goes on";
  ASSERT_EQ(batch.segments.size(), 1u);
  EXPECT_EQ(batch.segments[0].row_end, 5);

  sequence.Advance(5);
  parts = {Part(sequence, 2)};
  builder_.Build(parts);
  EXPECT_THAT(batch.tokens, ElementsAre(15, 16));
  EXPECT_THAT(batch.positions, ElementsAre(5, 6));
  EXPECT_EQ(batch.segments[0].first_position, 5);
  EXPECT_THAT(batch.block_tables, ElementsAre(first, second));
  EXPECT_THAT(batch.logit_rows, ElementsAre(1));
  ASSERT_EQ(builder_.logit_uses().size(), 1u);
  EXPECT_TRUE(builder_.logit_uses()[0].draw);
  EXPECT_EQ(builder_.logit_uses()[0].position, 6);
}

TEST_F(BatchBuilderTest, ADecodeRowIsTheLastDrawnToken) {
  Sequence& sequence = Make(1, {10, 11, 12, 13});
  std::vector<BatchBuilder::Part> parts = {Part(sequence, 4)};
  sequence.Advance(4);
  Sampled drawn{.token = token::kA, .top = {}};
  sequence.Absorb({&drawn, 1});
  parts = {Part(sequence, 1)};
  builder_.Build(parts);
  EXPECT_THAT(builder_.batch().tokens, ElementsAre(token::kA));
  EXPECT_THAT(builder_.batch().positions, ElementsAre(4));
  EXPECT_THAT(builder_.batch().slots, ElementsAre(sequence.blocks()[1] * 4));
  EXPECT_THAT(builder_.batch().logit_rows, ElementsAre(0));
}

TEST_F(BatchBuilderTest, RowsAreSortedIntoOneRunPerAdapter) {
  const auto x = Adapter(), y = Adapter();
  Sequence& y1 = Make(1, {1, 1}, y);
  Sequence& base = Make(2, {2, 2, 2});
  Sequence& x1 = Make(3, {3}, x);
  Sequence& y2 = Make(4, {4, 4}, y);
  std::vector<BatchBuilder::Part> parts = {Part(y2, 2, 9), Part(x1, 1, 5), Part(base, 3, 0), Part(y1, 2, 9)};
  builder_.Build(parts);
  const Batch& batch = builder_.batch();
  EXPECT_THAT(batch.tokens, ElementsAre(2, 2, 2, 3, 1, 1, 4, 4));
  ASSERT_EQ(batch.runs.size(), 2u);
  EXPECT_EQ(batch.runs[0].row_begin, 3);
  EXPECT_EQ(batch.runs[0].row_end, 4);
  EXPECT_EQ(batch.runs[0].adapter, x->device->slot());
  EXPECT_EQ(batch.runs[1].row_begin, 4);
  EXPECT_EQ(batch.runs[1].row_end, 8);
  EXPECT_EQ(batch.runs[1].adapter, y->device->slot());
  EXPECT_EQ(builder_.distinct_adapters(), 2);
  EXPECT_THAT(batch.logit_rows, ElementsAre(2, 3, 5, 7));
}

// A composition is a run in every pass; what others do in the first pass does not break it up.
TEST_F(BatchBuilderTest, ComposedAdaptersRunInPasses) {
  const auto x = Adapter(), y = Adapter();
  Sequence& both = Make(1, {1, 1}, x);
  Sequence& alone = Make(2, {2}, x);
  Sequence& again = Make(3, {3, 3}, x);
  for (const size_t i : {0u, 2u}) {
    requests_[i].adapter_weight = 0.5f;
    requests_[i].composed.push_back({HandleOn(y), 2.f});
    EXPECT_TRUE(requests_[i].BindAdapters());
  }
  std::vector<BatchBuilder::Part> parts = {Part(again, 2, 5), Part(alone, 1, 5), Part(both, 2, 5)};
  builder_.Build(parts);
  const Batch& batch = builder_.batch();
  EXPECT_THAT(batch.tokens, ElementsAre(2, 1, 1, 3, 3));
  ASSERT_EQ(batch.terms(), 2u);
  ASSERT_EQ(batch.term(0).size(), 2u);
  EXPECT_EQ(batch.term(0)[0].weight, 1);
  EXPECT_EQ(batch.term(0)[1].weight, 0.5f);
  EXPECT_EQ(batch.term(0)[1].row_end, 5);
  ASSERT_EQ(batch.term(1).size(), 1u);
  EXPECT_EQ(batch.term(1)[0].adapter, y->device->slot());
  EXPECT_EQ(batch.term(1)[0].row_begin, 1);
  EXPECT_EQ(batch.term(1)[0].weight, 2);
  EXPECT_EQ(builder_.distinct_adapters(), 2);
}

TEST_F(BatchBuilderTest, RoutedRunsAreRecorded) {
  const auto routed = std::make_shared<AdapterGeneration>();
  routed->device = std::make_unique<FakeAdapter>(1, nullptr, /*experts=*/3);
  const auto plain = Adapter();
  Sequence& first = Make(1, {1, 1}, routed);
  Sequence& second = Make(2, {2}, routed);
  Sequence& other = Make(3, {3}, plain);
  requests_[1].adapter_top_k = 0;
  std::vector<BatchBuilder::Part> parts = {Part(first, 2, 5), Part(second, 1, 5), Part(other, 1, 6)};
  builder_.Build(parts);
  ASSERT_EQ(builder_.batch().runs.size(), 2u);
  EXPECT_EQ(builder_.batch().runs[0].gates, 0);
  EXPECT_EQ(builder_.batch().runs[1].gates, -1);
  ASSERT_EQ(builder_.gate_uses().size(), 2u);
  EXPECT_EQ(builder_.gate_uses()[1].sequence, &second);
  EXPECT_EQ(builder_.gate_uses()[1].row_begin, 2);
  EXPECT_EQ(builder_.gate_uses()[1].rows, 1);
}

TEST_F(BatchBuilderTest, AnInvokedAdapterHasNoRowsBeforeItsInvocation) {
  auto made = std::make_shared<AdapterGeneration>();
  made->device = std::make_unique<FakeAdapter>(1);
  made->invocation = {8, 9};
  const std::shared_ptr<const AdapterGeneration> adapter = made;
  Sequence& first = Make(1, {8, 9, 1, 8, 9, 2, 3}, adapter);  // from position 3 on
  Sequence& second = Make(2, {1, 8, 9}, adapter);             // from position 1 on
  Sequence& without = Make(3, {9, 8, 1}, adapter);
  std::vector<BatchBuilder::Part> parts = {Part(first, 5, 4), Part(second, 3, 4), Part(without, 3, 4)};
  builder_.Build(parts);
  const Batch& batch = builder_.batch();
  ASSERT_EQ(batch.runs.size(), 2u);
  EXPECT_EQ(batch.runs[0].row_begin, 3);
  EXPECT_EQ(batch.runs[0].row_end, 5);
  EXPECT_EQ(batch.runs[1].row_begin, 6);
  EXPECT_EQ(batch.runs[1].row_end, 8);
  EXPECT_EQ(builder_.distinct_adapters(), 1);

  first.Advance(5);
  parts = {Part(first, 2, 4)};
  builder_.Build(parts);
  ASSERT_EQ(batch.runs.size(), 1u);
  EXPECT_EQ(batch.runs[0].row_begin, 0) << "all behind the invocation";
  parts = {Part(without, 1, 4)};
  builder_.Build(parts);
  EXPECT_TRUE(batch.runs.empty());
}

TEST_F(BatchBuilderTest, ScoredRowsAreLogitRowsToo) {
  Sequence& sequence = Make(1, {1, 2, 3, 4}, nullptr, /*prompt_logprobs=*/0);
  std::vector<BatchBuilder::Part> parts = {Part(sequence, 4)};
  builder_.Build(parts);
  EXPECT_THAT(builder_.batch().logit_rows, ElementsAre(0, 1, 2, 3));
  const auto uses = builder_.logit_uses();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(uses[i].position, i);
    EXPECT_EQ(uses[i].draw, i == 3);
  }
}

// A row behind what runs is the same as when it has run, but for the token that is not drawn yet.
TEST_F(BatchBuilderTest, RowsAheadOfTheStepThatRuns) {
  const auto x = Adapter();
  Sequence& decoding = Make(1, {10, 11, 12}, x);
  Sequence& prompt = Make(2, {20, 21, 22, 23, 24, 25});
  std::vector<BatchBuilder::Part> parts = {Part(decoding, 3, 1), Part(prompt, 2)};
  EXPECT_TRUE(decoding.Reserve(4, kBlockSize, pool_) && prompt.Reserve(5, kBlockSize, pool_));
  std::vector<BatchBuilder::Part> ahead = {{&decoding, 1, 1, 3}, {&prompt, 3, 0, 2}};
  builder_.Build(ahead);
  const Batch early = builder_.batch();
  decoding.Advance(3);
  Sampled drawn{.token = token::kB, .top = {}};
  decoding.Absorb({&drawn, 1});
  prompt.Advance(2);
  builder_.PutDrawnTokens();
  const Batch put = builder_.batch();
  parts = {Part(decoding, 1, 1), Part(prompt, 3)};
  builder_.Build(parts);
  const Batch& batch = builder_.batch();
  EXPECT_EQ(batch.tokens, put.tokens);
  EXPECT_EQ(put.tokens.back(), token::kB) << "the base model comes first";
  EXPECT_EQ(batch.positions, early.positions);
  EXPECT_EQ(batch.slots, early.slots);
  EXPECT_EQ(batch.block_tables, early.block_tables);
  EXPECT_EQ(batch.logit_rows, early.logit_rows);
  EXPECT_THAT(early.logit_rows, ElementsAre(3));
}

TEST_F(BatchBuilderTest, NothingIsLeftOfTheStepBefore) {
  const auto x = Adapter();
  Sequence& adapted = Make(1, {1, 2}, x);
  std::vector<BatchBuilder::Part> parts = {Part(adapted, 2, 1)};
  builder_.Build(parts);
  builder_.Build({});
  const Batch& batch = builder_.batch();
  EXPECT_EQ(batch.rows(), 0);
  EXPECT_TRUE(batch.positions.empty() && batch.slots.empty() && batch.segments.empty() &&
              batch.block_tables.empty() && batch.runs.empty() && batch.logit_rows.empty());
  EXPECT_TRUE(builder_.logit_uses().empty());
  EXPECT_EQ(builder_.distinct_adapters(), 0);
}

}  // namespace
}  // namespace hydrad
