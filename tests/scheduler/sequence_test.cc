#include "server/scheduler/sequence.h"

#include <gtest/gtest.h>

#include <tuple>

#include "tests/fakes/fake_claim.h"
#include "tests/fakes/test_tokenizer.h"

namespace hydrad {
namespace {

constexpr int kBlockSize = 4;
const std::vector<int32_t> kEos = {token::kEnd};

class SequenceTest : public testing::Test {
 protected:
  SequenceTest() {
    request_.prompt = {1, 2, 3, 4, 5, 6};
    request_.seed = 40;
    request_.stopping.max_tokens = 100;
  }
  // After this the request must not change.
  Sequence& Make(int choice = 0) {
    if (!end_tokens_) end_tokens_.emplace(request_.stopping, kEos, /*formed=*/false);
    made_.push_back(
        std::make_unique<Sequence>(made_.size() + 1, request_, *end_tokens_, choice, *tokenizer_));
    return *made_.back();
  }
  // Makes a running sequence whose prompt is computed.
  Sequence& Prefilled() {
    Sequence& sequence = Make();
    sequence.Start();
    Run(sequence, static_cast<int>(request_.prompt.size()));
    return sequence;
  }
  int Run(Sequence& sequence, int rows) {
    EXPECT_TRUE(sequence.Reserve(rows, kBlockSize, pool_));
    return sequence.Advance(rows);
  }
  static OutputPiece Draw(Sequence& sequence, int32_t id) {
    Sampled drawn{.token = id, .top = {}};
    return sequence.Absorb({&drawn, 1});
  }

  static constexpr PrefixIndex::Namespace kRequest = 7;
  BlockPool pool_{8};
  PrefixIndex index_{kBlockSize, pool_};
  const std::unique_ptr<const Tokenizer> tokenizer_ = MakeTestTokenizer();
  Request request_;
  std::optional<EndTokens> end_tokens_;
  std::vector<std::unique_ptr<Sequence>> made_;
};

TEST_F(SequenceTest, GoesFromThePromptToItsOwnTokens) {
  Sequence& sequence = Make();
  EXPECT_EQ(sequence.state(), Sequence::State::kWaiting);
  SequenceView view = sequence.View(7);
  EXPECT_EQ(view.tenant, 7);
  EXPECT_EQ(view.pending, 6);
  EXPECT_EQ(view.first_logit, 5);
  EXPECT_FALSE(view.decoding);

  sequence.Start();
  EXPECT_EQ(Run(sequence, 4), 4);
  EXPECT_EQ(sequence.blocks().size(), 1u);
  EXPECT_EQ(Run(sequence, 2), 2);
  Draw(sequence, token::kA);
  view = sequence.View(7);
  EXPECT_TRUE(view.decoding);
  EXPECT_EQ(view.pending, 1);
  EXPECT_EQ(view.first_logit, 6);
  EXPECT_EQ(view.blocks, 2);
  EXPECT_EQ(sequence.token(0), 1);
  EXPECT_EQ(sequence.token(5), 6);
  EXPECT_EQ(sequence.token(6), token::kA);
  EXPECT_EQ(Run(sequence, 1), 0) << "not a prompt token";
}

// A view as a tuple, of what a sequence's rows and draws change.
auto Stands(const SequenceView& view) {
  return std::tuple(view.computed, view.pending, view.decoding, view.first_logit, view.unsplit);
}

TEST_F(SequenceTest, ForeseesWhereItWillStand) {
  Sequence& sequence = Make();
  sequence.Start();
  for (const int rows : {2, 1, 3, 1, 1}) {
    const int fresh = sequence.FreshTokens(rows);
    const std::optional<SequenceView> foreseen = sequence.Foresee(0, rows);
    ASSERT_TRUE(foreseen.has_value());
    EXPECT_EQ(Stands(*sequence.Foresee(0, 0)), Stands(sequence.View(0))) << "as it stands without a part";
    EXPECT_EQ(Run(sequence, rows), fresh);
    if (sequence.computed() == sequence.length()) Draw(sequence, token::kA);
    EXPECT_EQ(Stands(*foreseen), Stands(sequence.View(0))) << "at " << sequence.computed();
  }
  sequence.Preempt();
  sequence.Start();
  EXPECT_FALSE(sequence.Foresee(0, 5)->decoding);
  EXPECT_TRUE(sequence.Foresee(0, 8)->decoding) << "one token of those that were drawn is left";
}

TEST_F(SequenceTest, ForeseesNothingWhileThePromptIsScored) {
  request_.output.prompt_logprobs = 0;
  Sequence& sequence = Make();
  sequence.Start();
  EXPECT_FALSE(sequence.Foresee(0, 6).has_value());
  Run(sequence, 6);
  for (int position = 0; position < 5; ++position) sequence.Scored(position);
  Draw(sequence, token::kA);
  EXPECT_TRUE(sequence.Foresee(0, 1).has_value());
}

// What of several tokens at once counts, and why the sequence ends, if it does.
TEST_F(SequenceTest, AbsorbsSeveralTokensUpToTheOneThatEndsIt) {
  request_.stopping.max_tokens = 3;
  request_.stopping.stop_ids = {token::kDot};
  struct Case {
    const char* name;
    std::vector<int32_t> drawn, taken;
    std::optional<FinishReason> reason;
  };
  const Case cases[] = {
      {"one", {token::kA}, {token::kA}, std::nullopt},
      {"two", {token::kA, token::kB}, {token::kA, token::kB}, std::nullopt},
      {"to the limit",
       {token::kA, token::kB, token::kC},
       {token::kA, token::kB, token::kC},
       FinishReason::kLength},
      {"an end token", {token::kA, token::kEnd, token::kB}, {token::kA, token::kEnd}, FinishReason::kStop},
      {"a stop id", {token::kDot, token::kA}, {token::kDot}, FinishReason::kStopToken},
  };
  for (const Case& c : cases) {
    Sequence& sequence = Prefilled();
    std::vector<Sampled> drawn;
    for (const int32_t id : c.drawn) drawn.push_back({.token = id, .top = {}});
    const OutputPiece piece = sequence.Absorb(drawn);
    EXPECT_EQ(std::vector<int32_t>(sequence.generated().begin(), sequence.generated().end()), c.taken)
        << c.name;
    EXPECT_EQ(piece.finished, c.reason.has_value()) << c.name;
    if (c.reason) {
      EXPECT_EQ(piece.reason, *c.reason) << c.name;
      continue;
    }
    EXPECT_TRUE(sequence.decoding()) << c.name;
    EXPECT_EQ(sequence.View(0).pending, static_cast<int>(c.taken.size())) << c.name;
    EXPECT_EQ(sequence.first_logit(), sequence.length() - 1) << c.name;
    Run(sequence, static_cast<int>(c.taken.size()));
    EXPECT_EQ(sequence.computed(), sequence.length()) << c.name;
    sequence.Preempt();
  }
}

// What a preempted sequence has pending came all at once, and yet it is a prompt.
TEST_F(SequenceTest, SeveralTokensThatAreComputedAgainAreNoDecoding) {
  Sequence& sequence = Prefilled();
  Sampled drawn[] = {{.token = token::kA, .top = {}}, {.token = token::kB, .top = {}}};
  sequence.Absorb(drawn);
  EXPECT_TRUE(sequence.decoding());
  sequence.Preempt();
  sequence.Start();
  EXPECT_FALSE(sequence.decoding());
  Run(sequence, 6);
  EXPECT_FALSE(sequence.decoding());
  Run(sequence, 1);
  EXPECT_TRUE(sequence.decoding());
}

TEST_F(SequenceTest, RolledBackTokensAreRunAgainInTheirBlocks) {
  Sequence& sequence = Prefilled();
  Sampled drawn[] = {
      {.token = token::kA, .top = {}}, {.token = token::kB, .top = {}}, {.token = token::kC, .top = {}}};
  sequence.Absorb(drawn);
  Run(sequence, 3);
  const size_t blocks = sequence.blocks().size();
  sequence.Rollback(2, kBlockSize);
  EXPECT_EQ(sequence.computed(), 7);
  EXPECT_EQ(sequence.View(0).pending, 2);
  EXPECT_TRUE(sequence.decoding());
  EXPECT_EQ(sequence.blocks().size(), blocks);
  EXPECT_EQ(Run(sequence, 2), 0);
  EXPECT_EQ(sequence.blocks().size(), blocks);
  EXPECT_EQ(sequence.computed(), 9);
}

TEST_F(SequenceTest, AnAdapterBeginsWhereItsInvocationStandsLastInThePrompt) {
  const auto begin = [this](std::vector<int32_t> invocation) {
    auto generation = std::make_shared<AdapterGeneration>();
    generation->invocation = std::move(invocation);
    Request request;
    request.prompt = {4, 5, 4, 5, 4, 6};
    request.adapter = HandleOn(std::move(generation));
    const EndTokens end_tokens(request.stopping, kEos, /*formed=*/false);
    Sequence sequence(1, request, end_tokens, 0, *tokenizer_);
    EXPECT_TRUE(request.BindAdapters());  // as late as that
    sequence.Start();
    return sequence.adapter_begin();
  };
  EXPECT_EQ(begin({}), 0);
  EXPECT_EQ(begin({4, 5}), 2);
  EXPECT_EQ(begin({4, 5, 4}), 2) << "the occurrences overlap";
  EXPECT_EQ(begin({6}), 5);
  EXPECT_EQ(begin({4, 5, 4, 5, 4, 6}), 0);
  const int never = begin({7});
  EXPECT_GT(never, 1 << 30);
  EXPECT_EQ(begin({6, 4}), never);
  EXPECT_EQ(begin({4, 5, 4, 5, 4, 6, 4}), never) << "longer than the prompt";
}

TEST_F(SequenceTest, ReserveTakesOnlyWhatIsLackingAndTellsWhenThereIsNone) {
  BlockPool pool(2);
  Sequence& sequence = Make();
  sequence.Start();
  EXPECT_TRUE(sequence.Reserve(4, kBlockSize, pool));
  EXPECT_TRUE(sequence.Reserve(4, kBlockSize, pool));
  EXPECT_EQ(pool.free(), 1);
  EXPECT_TRUE(sequence.Reserve(8, kBlockSize, pool));
  EXPECT_FALSE(sequence.Reserve(9, kBlockSize, pool));
  sequence.Preempt();
  EXPECT_EQ(pool.free(), 2);
}

TEST_F(SequenceTest, PreemptionKeepsTheTokensAndGivesTheBlocksBack) {
  Sequence& sequence = Prefilled();
  Draw(sequence, token::kA);
  Draw(sequence, token::kB);
  sequence.Preempt();
  EXPECT_EQ(pool_.free(), pool_.total());
  SequenceView view = sequence.View(0);
  EXPECT_TRUE(view.preempted);
  EXPECT_FALSE(view.decoding);
  EXPECT_EQ(view.pending, 8);
  EXPECT_EQ(view.first_logit, 7);
  sequence.Start();
  EXPECT_EQ(Run(sequence, 8), 0) << "computed again: not counted again";
  EXPECT_EQ(sequence.sample_row().step, 2u);
}

TEST_F(SequenceTest, PreemptionInsideACharacterLosesNothingOfIt) {
  Sequence& sequence = Prefilled();
  EXPECT_EQ(Draw(sequence, token::kA).text, "a");
  EXPECT_EQ(Draw(sequence, token::kE2).text, "");
  sequence.Preempt();
  sequence.Start();
  Run(sequence, 8);
  EXPECT_EQ(Draw(sequence, token::k82AC).text, "€");
}

TEST_F(SequenceTest, EachChoicesTextGoesOnBehindThePrompt) {
  request_.prompt = {token::kA, token::kE2};
  std::string echo;
  request_.behind_prompt.emplace(*tokenizer_, true, request_.prompt, &echo);
  for (int choice = 0; choice < 2; ++choice) {
    Sequence& sequence = Make(choice);
    sequence.Start();
    Run(sequence, 2);
    EXPECT_EQ(Draw(sequence, token::k82AC).text, "€");
  }
  request_.behind_prompt.reset();
  Sequence& sequence = Make();
  sequence.Start();
  Run(sequence, 2);
  EXPECT_EQ(Draw(sequence, token::k82AC).text, "€") << "the sequence reads the prompt itself";
}

TEST_F(SequenceTest, ASampleRowIsAFunctionOfTheSequenceAlone) {
  request_.stopping.min_tokens = 2;
  request_.stopping.stop_ids = {token::kD};
  request_.output.top_logprobs = 3;
  Sequence& sequence = Make(2);
  sequence.Start();
  Run(sequence, 6);
  Draw(sequence, token::kA);
  SampleRow row = sequence.sample_row();
  EXPECT_EQ(row.params, &request_.sampling);
  EXPECT_EQ(row.seed, 42u);
  EXPECT_EQ(row.step, 1u);
  EXPECT_EQ(row.top_logprobs, 3);
  EXPECT_EQ(std::vector<int32_t>(row.prompt.begin(), row.prompt.end()), request_.prompt);
  EXPECT_EQ(std::vector<int32_t>(row.generated.begin(), row.generated.end()),
            std::vector<int32_t>{token::kA});
  EXPECT_EQ(std::vector<int32_t>(row.banned.begin(), row.banned.end()),
            (std::vector<int32_t>{token::kEnd, token::kD}));
  Draw(sequence, token::kA);
  EXPECT_TRUE(sequence.sample_row().banned.empty());
}

Stopping Ending(int max_tokens, int min_tokens = 0, std::vector<std::string> stop = {},
                std::vector<int32_t> stop_ids = {}, bool ignore_eos = false) {
  return {max_tokens, min_tokens, std::move(stop), std::move(stop_ids), ignore_eos};
}

struct EndCase {
  const char* name;
  Stopping stopping;
  std::vector<int32_t> draws;
  int end_tokens_after;  // 0: not
  FinishReason reason;
  std::string text;
};

TEST_F(SequenceTest, Ends) {
  using enum FinishReason;
  const EndCase cases[] = {
      {"end token", Ending(9), {token::kA, token::kEnd}, 2, kStop, "a"},
      {"ignored", Ending(9, 0, {}, {}, true), {token::kA, token::kEnd}, 0, kStop, ""},
      {"stop id", Ending(9, 0, {}, {token::kB}), {token::kA, token::kB}, 2, kStopToken, "a"},
      {"stop string", Ending(9, 0, {"bc"}), {token::kAb, token::kC}, 2, kStopString, "a"},
      {"length", Ending(2), {token::kA, token::kB}, 2, kLength, "ab"},
      {"a stop in the last token counts", Ending(2, 0, {"b"}), {token::kA, token::kB}, 2, kStopString, "a"},
      {"stop strings below min_tokens are text",
       Ending(9, 2, {"a"}),
       {token::kA, token::kA},
       2,
       kStopString,
       "a"},
      {"an end token is not text, even if shown", Ending(1), {token::kEnd}, 1, kStop, ""},
  };
  for (const EndCase& c : cases) {
    request_.stopping = c.stopping;
    end_tokens_.reset();
    made_.clear();
    Sequence& sequence = Prefilled();
    std::string text;
    int ended = 0;
    for (size_t i = 0; i < c.draws.size() && ended == 0; ++i) {
      const OutputPiece piece = Draw(sequence, c.draws[i]);
      text += piece.text;
      if (!piece.finished) continue;
      ended = static_cast<int>(i) + 1;
      EXPECT_EQ(piece.reason, c.reason) << c.name;
      EXPECT_EQ(text, c.text) << c.name;
    }
    EXPECT_EQ(ended, c.end_tokens_after) << c.name;
    if (ended == 0) continue;
    EXPECT_EQ(sequence.state(), Sequence::State::kFinished) << c.name;
    EXPECT_LT(pool_.free(), pool_.total()) << c.name << ": others may begin with its blocks first";
    sequence.GiveBlocksBack();
    EXPECT_EQ(pool_.free(), pool_.total()) << c.name;
  }
}

TEST_F(SequenceTest, PromptRowsAreScoredOnceAndByTheFirstChoiceOnly) {
  request_.output.prompt_logprobs = 0;
  Sequence& sequence = Make();
  EXPECT_EQ(sequence.first_logit(), 0);
  sequence.Start();
  Run(sequence, 3);
  for (int position = 0; position < 3; ++position) sequence.Scored(position);
  EXPECT_EQ(sequence.first_logit(), 3);
  sequence.Preempt();
  EXPECT_EQ(sequence.first_logit(), 3) << "what is scored stays scored";
  sequence.Start();
  Run(sequence, 6);
  for (int position = 3; position < 5; ++position) sequence.Scored(position);
  EXPECT_EQ(sequence.first_logit(), 5);
  Draw(sequence, token::kA);
  EXPECT_EQ(sequence.first_logit(), 6);
  EXPECT_EQ(Make(1).first_logit(), 5);
}

TEST_F(SequenceTest, ChoicesShareTheFullBlocksOfThePrompt) {
  request_.prompt.assign(9, 1);
  Sequence& first = Prefilled();
  Sequence& second = Make(1);
  EXPECT_EQ(pool_.free(), 5);
  EXPECT_TRUE(first.Share(index_, kRequest, 8));
  second.Start();
  EXPECT_EQ(second.BeginWith(index_, kRequest, 8), 8);
  EXPECT_EQ(second.computed(), 8);
  EXPECT_EQ(pool_.free(), 5);
  EXPECT_EQ(first.View(0).freed, 1);
  EXPECT_EQ(second.View(0).freed, 0);
  EXPECT_EQ(Run(second, 1), 1) << "the last prompt token, in a block of its own";
  EXPECT_EQ(pool_.free(), 4);
  first.Preempt();
  EXPECT_EQ(pool_.free(), 5);
  EXPECT_EQ(second.View(0).freed, 3);
  second.Preempt();
  EXPECT_EQ(pool_.free(), 8);
}

// What a sequence may find and leave, as prefix_cache.h says.
TEST_F(SequenceTest, WhatIsCacheable) {
  using By = Sequence::Cacheable::By;
  const auto cacheable = [](const Sequence& sequence) {
    const Sequence::Cacheable part = sequence.cacheable();
    return std::tuple(part.by, part.find, part.keep);
  };
  Sequence& sequence = Make();
  EXPECT_EQ(cacheable(sequence), std::tuple(By::kAdapted, 5, 0)) << "the prompt's last token is always run";
  sequence.Start();
  Run(sequence, 6);
  Draw(sequence, token::kA);
  EXPECT_EQ(cacheable(sequence), std::tuple(By::kAdapted, 6, 6)) << "what is drawn is not computed";
  Run(sequence, 1);
  Draw(sequence, token::kB);
  EXPECT_EQ(cacheable(sequence), std::tuple(By::kAdapted, 7, 7));
  EXPECT_EQ(sequence.Tokens(8), (std::vector<int32_t>{1, 2, 3, 4, 5, 6, token::kA, token::kB}));
  EXPECT_EQ(sequence.Tokens(3), (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(SequenceTest, AScoredPromptIsComputed) {
  request_.output.prompt_logprobs = 0;
  Sequence& sequence = Prefilled();
  EXPECT_EQ(sequence.cacheable().find, 0);
  EXPECT_EQ(sequence.cacheable().keep, 6) << "for others";
  EXPECT_EQ(Make(1).cacheable().find, 5) << "it is scored once";
}

TEST_F(SequenceTest, TheDaemonsOwnTestsLeaveNothing) {
  request_.self_test = true;
  Sequence& sequence = Prefilled();
  EXPECT_EQ(sequence.cacheable().find, 0);
  EXPECT_EQ(sequence.cacheable().keep, 0);
}

TEST_F(SequenceTest, AnInvokedAdapterSharesWhatStandsBeforeIt) {
  FakeStored stored{.name = "invoked", .invocation = {4}, .ready = true};
  request_.adapter = stored.Handle();
  EXPECT_TRUE(request_.adapter.Bind());
  Sequence& sequence = Prefilled();
  EXPECT_EQ(sequence.cacheable().by, Sequence::Cacheable::By::kBase);
  EXPECT_EQ(sequence.cacheable().find, 3);
  EXPECT_EQ(sequence.cacheable().keep, 3);
  request_.n = 2;
  EXPECT_EQ(sequence.cacheable().keep, 0) << "the choices share the rest, too, and nobody else";
}

}  // namespace
}  // namespace hydrad
