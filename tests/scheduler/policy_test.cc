#include "server/scheduler/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace hydrad {

void PrintTo(const Plan::Chunk& chunk, std::ostream* out) {
  *out << "{" << chunk.id << " x" << chunk.rows << "}";
}

namespace {

using Chunks = std::vector<Plan::Chunk>;
using Ids = std::vector<SequenceId>;

int Blocks(int tokens, int block_size) { return (tokens + block_size - 1) / block_size; }

SequenceView View(SequenceId id, TenantId tenant, int computed, int pending) {
  SequenceView view;
  view.id = id;
  view.tenant = tenant;
  view.computed = computed;
  view.pending = pending;
  view.first_logit = computed + pending - 1;
  view.blocks = view.freed = Blocks(computed, 4);
  return view;
}
SequenceView Decoding(SequenceId id, TenantId tenant, int computed) {
  SequenceView view = View(id, tenant, computed, 1);
  view.decoding = true;
  return view;
}
SequenceView Waiting(SequenceId id, TenantId tenant, int pending) { return View(id, tenant, 0, pending); }
SequenceView Preempted(SequenceView view) {
  view.preempted = true;
  return view;
}
SequenceView PassedOver(SequenceView view, int steps) {
  view.times_skipped = steps;
  return view;
}
SequenceView Scoring(SequenceView view, int from) {
  view.first_logit = from;
  return view;
}
SequenceView Unsplit(SequenceView view) {
  view.unsplit = view.pending;
  return view;
}
SequenceView Sharing(SequenceView view, int freed) {
  view.freed = freed;
  return view;
}

// Finds so many full blocks of its prompt, `reclaims` of them free.
SequenceView Finding(SequenceView view, int blocks, int reclaims) {
  view.blocks = blocks;
  view.reclaims = reclaims;
  view.computed = 4 * blocks;
  view.pending -= view.computed;
  return view;
}

constexpr PolicyLimits kLimits{.max_running = 4,
                               .max_rows = 16,
                               .max_logit_rows = 6,
                               .prefill_chunk = 8,
                               .block_size = 4,
                               .watermark_blocks = 1,
                               .patience = 3};

struct Case {
  const char* name;
  std::vector<TenantView> tenants;
  std::vector<SequenceView> running, waiting;
  int free_blocks;
  Chunks chunks;
  Ids preempt, skipped;
};

const std::vector<TenantView> kOne = {{0, 1}};
const std::vector<TenantView> kTwo = {{10, 1}, {20, 1}};             // tenant 0 is served least
const std::vector<TenantView> kThree = {{30, 1}, {10, 1}, {20, 1}};  // 1, then 2, then 0

const Case kCases[] = {
    {"nothing to do", kOne, {}, {}, 10, {}, {}, {}},

    // Decode and prefill side by side.
    {"decode rows come first", kOne, {View(1, 0, 4, 3), Decoding(2, 0, 5)}, {}, 10, {{2, 1}, {1, 3}}, {}, {}},
    {"a long prompt is cut into chunks", kOne, {}, {Waiting(1, 0, 30)}, 10, {{1, 8}}, {}, {}},
    {"the chunk is shared", kOne, {}, {Waiting(1, 0, 5), Waiting(2, 0, 9)}, 10, {{1, 5}, {2, 3}}, {}, {}},
    {"decode rows do not eat the prefill chunk",
     kOne,
     {Decoding(1, 0, 2), Decoding(2, 0, 2)},
     {Waiting(3, 0, 20)},
     10,
     {{1, 1}, {2, 1}, {3, 8}},
     {},
     {}},
    {"what has started goes before what waits",
     kOne,
     {View(7, 0, 4, 20)},
     {Preempted(Waiting(3, 0, 4))},
     10,
     {{7, 8}},
     {},
     {}},
    {"as many as may run",
     kOne,
     {Decoding(1, 0, 1), Decoding(2, 0, 1), Decoding(3, 0, 1)},
     {Waiting(4, 0, 1), Waiting(5, 0, 1)},
     10,
     {{1, 1}, {2, 1}, {3, 1}, {4, 1}},
     {},
     {}},

    // Fairness.
    {"the least served tenant first",
     kThree,
     {},
     {Waiting(1, 0, 3), Waiting(2, 1, 3), Waiting(3, 2, 9)},
     10,
     {{2, 3}, {3, 5}},
     {},
     {}},
    {"of equally served ones the lower id",
     {{5, 1}, {5, 1}},
     {},
     {Waiting(2, 0, 3), Waiting(1, 1, 9)},
     10,
     {{2, 3}, {1, 5}},
     {},
     {}},
    {"each chunk counts at once",
     {{10, 1}, {11, 1}},
     {},
     {Waiting(1, 0, 2), Waiting(2, 0, 2), Waiting(3, 1, 2)},
     10,
     {{1, 2}, {3, 2}, {2, 2}},
     {},
     {}},
    {"a weight makes chunks cheap",
     {{10, 4}, {11, 1}},
     {},
     {Waiting(1, 0, 2), Waiting(2, 0, 2), Waiting(3, 1, 2)},
     10,
     {{1, 2}, {2, 2}, {3, 2}},
     {},
     {}},
    {"a tenant's prefill yields to one served less",
     kTwo,
     {View(1, 1, 4, 20)},
     {Waiting(2, 0, 6)},
     10,
     {{2, 6}, {1, 2}},
     {},
     {}},

    // Blocks.
    {"a start leaves the watermark", kOne, {Decoding(1, 0, 2)}, {Waiting(2, 0, 8)}, 2, {{1, 1}}, {}, {2}},
    {"a start that leaves it exactly",
     kOne,
     {Decoding(1, 0, 2)},
     {Waiting(2, 0, 8)},
     3,
     {{1, 1}, {2, 8}},
     {},
     {}},
    {"alone no watermark is kept", kOne, {}, {Waiting(2, 0, 8)}, 2, {{2, 8}}, {}, {}},
    {"the second start keeps the first one's",
     kOne,
     {},
     {Waiting(1, 0, 4), Waiting(2, 0, 4)},
     2,
     {{1, 4}},
     {},
     {2}},
    {"a preempted sequence waits until all of it fits",
     kOne,
     {Decoding(1, 0, 2)},
     {Preempted(Waiting(2, 0, 30))},
     8,
     {{1, 1}},
     {},
     {2}},
    {"one that does not fit holds up its own tenant alone",
     kTwo,
     {Decoding(1, 0, 2)},
     {Waiting(2, 0, 8), Waiting(3, 0, 1), Waiting(4, 1, 1)},
     2,
     {{1, 1}, {4, 1}},
     {},
     {2}},
    {"until it has waited long enough",
     kTwo,
     {Decoding(1, 0, 2)},
     {PassedOver(Waiting(2, 0, 8), 3), Waiting(4, 1, 1)},
     2,
     {{1, 1}},
     {},
     {2}},
    {"a running prefill takes the blocks there are",
     kOne,
     {Decoding(1, 0, 2), View(2, 0, 4, 20)},
     {},
     1,
     {{1, 1}, {2, 4}},
     {},
     {}},
    {"and waits when there are none", kOne, {Decoding(1, 0, 2), View(2, 0, 4, 20)}, {}, 0, {{1, 1}}, {}, {}},

    // Preemption.
    {"the newest of the most served tenant goes",
     kTwo,
     {Decoding(1, 0, 4), Decoding(2, 1, 4), Decoding(3, 1, 4), Decoding(4, 0, 4)},
     {},
     2,
     {{1, 1}, {2, 1}, {4, 1}},
     {3},
     {}},
    {"more than one if need be",
     kTwo,
     {Decoding(1, 0, 4), Decoding(2, 1, 4), Decoding(3, 1, 4)},
     {},
     0,
     {{1, 1}},
     {3, 2},
     {}},
    {"a prefill goes too", kTwo, {Decoding(1, 0, 4), View(2, 1, 4, 9)}, {}, 0, {{1, 1}}, {2}, {}},
    {"the oldest of all stays, even of the most served",
     kTwo,
     {Decoding(1, 1, 4), Decoding(2, 0, 4)},
     {},
     0,
     {{1, 1}},
     {2},
     {}},
    {"nothing starts in a step that preempts",
     kTwo,
     {Decoding(1, 0, 4), Decoding(2, 1, 8)},
     {Waiting(3, 0, 1)},
     0,
     {{1, 1}},
     {2},
     {}},
    {"a row without a block waits for what others share",
     kOne,
     {Decoding(1, 0, 4), Sharing(Decoding(2, 0, 4), 0)},
     {},
     0,
     {},
     {2},
     {}},
    {"prefills that block each other yield to the oldest",
     kTwo,
     {View(1, 1, 8, 12), View(2, 0, 8, 12)},
     {},
     0,
     {{1, 8}},
     {2},
     {}},

    // Rows whose logits are wanted.
    {"prompt rows to be scored are bounded by the logit rows",
     kOne,
     {Decoding(1, 0, 2)},
     {Scoring(Waiting(2, 0, 8), 0)},
     10,
     {{1, 1}, {2, 5}},
     {},
     {}},
    {"rows before the scored ones are free",
     kOne,
     {Decoding(1, 0, 2)},
     {Scoring(Waiting(2, 0, 8), 2)},
     10,
     {{1, 1}, {2, 7}},
     {},
     {}},
    {"without logit rows a prompt goes up to its last token",
     kOne,
     {},
     {Scoring(Waiting(1, 0, 6), 0), Waiting(2, 0, 9)},
     10,
     {{1, 6}, {2, 2}},
     {},
     {}},

    // Prompts that must not be split.
    {"a whole prompt takes its part of the chunk",
     kOne,
     {},
     {Waiting(1, 0, 3), Unsplit(Waiting(2, 0, 5)), Waiting(3, 0, 2)},
     10,
     {{1, 3}, {2, 5}},
     {},
     {}},
    {"as the first one it may exceed the chunk",
     kOne,
     {Decoding(1, 0, 2), Decoding(2, 0, 2), Decoding(3, 0, 2)},
     {Unsplit(Waiting(4, 0, 13)), Waiting(5, 0, 1)},
     10,
     {{1, 1}, {2, 1}, {3, 1}, {4, 13}},
     {},
     {}},
    {"else it waits for the next step, and its tenant's others behind it",
     kOne,
     {},
     {Waiting(1, 0, 2), Unsplit(Waiting(2, 0, 7)), Waiting(3, 0, 1)},
     10,
     {{1, 2}},
     {},
     {}},
    {"but no other tenant's",
     kTwo,
     {View(1, 0, 4, 2)},
     {Unsplit(Waiting(2, 0, 7)), Waiting(3, 1, 4)},
     10,
     {{1, 2}, {3, 4}},
     {},
     {}},
    {"it needs blocks for all of it", kOne, {}, {Unsplit(Waiting(1, 0, 13))}, 3, {}, {}, {1}},

    // What is in the prefix cache.
    {"only the rest is run",
     kOne,
     {},
     {Finding(Waiting(1, 0, 14), 3, 0), Finding(Waiting(2, 0, 9), 2, 0)},
     10,
     {{1, 2}, {2, 1}},
     {},
     {}},
    {"free blocks that it begins with are no longer free",
     kOne,
     {},
     {Finding(Waiting(1, 0, 14), 3, 3), Waiting(2, 0, 4)},
     5,
     {{1, 2}},
     {},
     {2}},
    {"those that others hold cost nothing",
     kOne,
     {},
     {Finding(Waiting(1, 0, 14), 3, 0), Waiting(2, 0, 4)},
     5,
     {{1, 2}, {2, 4}},
     {},
     {}},
    {"without room for them it does not start",
     kOne,
     {Decoding(1, 0, 2)},
     {Finding(Waiting(2, 0, 14), 3, 3)},
     4,
     {{1, 1}},
     {},
     {2}},
    {"a preempted one needs room for its rest only",
     kOne,
     {},
     {Preempted(Finding(Waiting(1, 0, 14), 3, 1))},
     2,
     {{1, 2}},
     {},
     {}},
};

TEST(NextStep, Cases) {
  for (const Case& c : kCases) {
    Plan plan;
    NextStep({c.tenants, c.running, c.waiting, c.free_blocks}, kLimits, &plan);
    EXPECT_EQ(plan.chunks, c.chunks) << c.name;
    EXPECT_EQ(plan.preempt, c.preempt) << c.name;
    EXPECT_EQ(plan.skipped, c.skipped) << c.name;
  }
}

TEST(NextStep, RowsBoundThePrefillToo) {
  PolicyLimits limits = kLimits;
  limits.max_rows = 5;
  const std::vector<SequenceView> running = {Decoding(1, 0, 2), Decoding(2, 0, 2)},
                                  waiting = {Waiting(3, 0, 9)};
  Plan plan;
  NextStep({kOne, running, waiting, 10}, limits, &plan);
  EXPECT_EQ(plan.chunks, (Chunks{{1, 1}, {2, 1}, {3, 3}}));
}

// `rows` tokens have come at once.
SequenceView Several(SequenceView view, int rows) {
  view.pending = rows;
  view.first_logit = view.computed;
  return view;
}

// Of max_rows 16 and max_logit_rows 6, in blocks of 4.
TEST(NextStep, ADecodingSequenceMayHaveMoreRowsThanOne) {
  struct Rows {
    const char* name;
    std::vector<SequenceView> running;
    int free_blocks;
    Chunks chunks;
  };
  const Rows cases[] = {
      {"all that came", {Several(Decoding(1, 0, 2), 3)}, 10, {{1, 3}}},
      {"as far as logits go", {Several(Decoding(1, 0, 2), 9)}, 10, {{1, 6}}},
      {"each has one before any has two",
       {Several(Decoding(1, 0, 2), 6), Decoding(2, 0, 2), Decoding(3, 0, 2)},
       10,
       {{1, 4}, {2, 1}, {3, 1}}},
      {"the older one first",
       {Several(Decoding(1, 0, 2), 4), Several(Decoding(2, 0, 2), 4)},
       10,
       {{1, 4}, {2, 2}}},
      {"as far as blocks go", {Several(Decoding(1, 0, 3), 4), Decoding(2, 0, 2)}, 0, {{1, 1}, {2, 1}}},
      {"a block that is left", {Several(Decoding(1, 0, 3), 4), Decoding(2, 0, 4)}, 2, {{1, 4}, {2, 1}}},
  };
  for (const Rows& c : cases) {
    Plan plan;
    NextStep({kOne, c.running, {}, c.free_blocks}, kLimits, &plan);
    EXPECT_EQ(plan.chunks, c.chunks) << c.name;
    EXPECT_THAT(plan.preempt, testing::IsEmpty()) << c.name;
  }
}

// A world that carries out plans: what NextStep promises must hold in every state that it leads to.
class World {
 public:
  explicit World(uint64_t seed) : rng_(seed) {
    limits_ = {.max_running = 1 + Draw(6),
               .max_rows = 8 + Draw(16),
               .max_logit_rows = 6 + Draw(4),
               .prefill_chunk = 1 + Draw(12),
               .block_size = 1 + Draw(4),
               .watermark_blocks = 1,
               .patience = Draw(4)};
    total_blocks_ = free_ = Blocks(kLongest, limits_.block_size) + Draw(10);
    for (int t = 0; t < 3; ++t) tenants_.push_back({0, 1.0 + Draw(3)});
    for (SequenceId id = 1; id <= 20; ++id) {
      waiting_.emplace(id, State{Fresh(id), 1 + Draw(12)});
      SequenceView& view = waiting_.at(id).view;
      if (Draw(4) == 0) view.unsplit = std::min(view.pending, UnsplitRows(limits_));
    }
  }

  // Runs until every sequence has ended. Each step must hold to the limits and something must always end.
  void Run() {
    int steps = 0;
    while (!running_.empty() || !waiting_.empty()) {
      ASSERT_LT(++steps, 20000) << "nothing ends";
      ASSERT_NO_FATAL_FAILURE(Step());
    }
    EXPECT_EQ(free_, total_blocks_);
  }

 private:
  static constexpr int kLongest = 32;
  struct State {
    SequenceView view;
    int draws_left;
  };
  int Draw(int n) { return static_cast<int>(rng_() % n); }
  SequenceView Fresh(SequenceId id) { return Waiting(id, Draw(3), 1 + Draw(kLongest - 13)); }

  void Step() {
    std::vector<SequenceView> running, waiting;
    for (auto& [id, state] : running_) running.push_back(state.view);
    for (auto& [id, state] : waiting_) waiting.push_back(state.view = Find(state.view));
    Plan plan, again;
    const Snapshot snapshot{tenants_, running, waiting, free_};
    NextStep(snapshot, limits_, &plan);
    NextStep(snapshot, limits_, &again);
    ASSERT_EQ(plan.chunks, again.chunks);
    ASSERT_FALSE(plan.chunks.empty() && plan.preempt.empty()) << "there is work";
    for (const SequenceId id : plan.preempt) {
      ASSERT_NE(id, running_.begin()->first) << "the oldest is safe";
      Preempt(id);
    }
    for (const SequenceId id : plan.skipped) ++waiting_.at(id).view.times_skipped;
    ASSERT_NO_FATAL_FAILURE(CarryOut(plan));
  }

  // Some of what a sequence that waits has to compute is in free blocks now; another time it is something
  // else.
  SequenceView Find(SequenceView view) {
    if (view.unsplit > 0) return view;
    view.pending += view.computed;
    view.blocks = view.reclaims = std::min(Draw(3), (view.pending - 1) / limits_.block_size);
    if (view.blocks > free_) view.blocks = view.reclaims = 0;
    view.computed = view.blocks * limits_.block_size;
    view.pending -= view.computed;
    return view;
  }

  void Preempt(SequenceId id) {
    State state = running_.at(id);
    free_ += state.view.blocks;
    state.view.pending += state.view.computed;
    state.view.computed = state.view.blocks = state.view.freed = 0;
    state.view.decoding = false;
    state.view.preempted = true;
    running_.erase(id);
    waiting_.emplace(id, state);
  }

  void CarryOut(const Plan& plan) {
    int rows = 0, logits = 0, prefill = 0, unsplit = 0;
    std::set<SequenceId> seen;
    for (const Plan::Chunk& chunk : plan.chunks) {
      ASSERT_TRUE(seen.insert(chunk.id).second);
      if (auto started = waiting_.extract(chunk.id)) running_.insert(std::move(started));
      SequenceView& view = running_.at(chunk.id).view;
      free_ -= std::exchange(view.reclaims, 0);
      ASSERT_GT(chunk.rows, 0);
      ASSERT_LE(chunk.rows, view.pending);
      ASSERT_GE(chunk.rows, view.unsplit);
      unsplit = std::max(unsplit, std::exchange(view.unsplit, 0));
      rows += chunk.rows;
      if (!view.decoding) prefill += chunk.rows;
      logits += std::max(0, view.computed + chunk.rows - std::max(view.computed, view.first_logit));
      ASSERT_NO_FATAL_FAILURE(Advance(chunk));
    }
    ASSERT_LE(rows, limits_.max_rows);
    ASSERT_LE(logits, limits_.max_logit_rows);
    ASSERT_LE(prefill, std::max(unsplit, limits_.prefill_chunk));
    ASSERT_LE(running_.size() + ended_in_step_, static_cast<size_t>(limits_.max_running));
    ended_in_step_ = 0;
  }

  void Advance(const Plan::Chunk& chunk) {
    State& state = running_.at(chunk.id);
    SequenceView& view = state.view;
    const int lacking = std::max(0, Blocks(view.computed + chunk.rows, limits_.block_size) - view.blocks);
    ASSERT_LE(lacking, free_);
    free_ -= lacking;
    view.blocks += lacking;
    view.freed = view.blocks;
    view.computed += chunk.rows;
    view.pending -= chunk.rows;
    tenants_[view.tenant].service += chunk.rows / tenants_[view.tenant].weight;
    if (view.pending > 0) return;
    view.pending = 1;  // a token is drawn
    view.decoding = true;
    view.first_logit = view.computed;
    if (--state.draws_left > 0) return;
    free_ += view.blocks;
    running_.erase(chunk.id);
    ++ended_in_step_;
  }

  std::mt19937_64 rng_;
  PolicyLimits limits_;
  int total_blocks_, free_;
  size_t ended_in_step_ = 0;
  std::vector<TenantView> tenants_;
  std::map<SequenceId, State> running_, waiting_;
};

TEST(NextStep, EverySequenceEndsInEveryWorld) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    World(seed).Run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace hydrad
