// Random histories of tables, the pool and the index beside a model that is as plain as can be.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "server/kv/prefix_index.h"

namespace hydrad {
namespace {

using Tokens = std::vector<int32_t>;
using Ids = std::vector<int32_t>;
using Prefix = std::pair<PrefixIndex::Namespace, Tokens>;  // whole blocks

// What the pool, the index and the tables should be doing: a map, and vectors that are searched.
class Model {
 public:
  Model(int blocks, int block_size) : block_size_(static_cast<size_t>(block_size)), refs_(blocks, 0) {
    for (int id = blocks - 1; id >= 0; --id) unused_.push_back(id);
  }

  Ids Find(PrefixIndex::Namespace ns, const Tokens& tokens) const {
    Ids found;
    for (size_t end = block_size_; end <= tokens.size(); end += block_size_) {
      const auto at = known_.find(Start(ns, tokens, end));
      if (at == known_.end()) break;
      found.push_back(at->second);
    }
    return found;
  }
  void Hold(const Ids& ids) {
    for (const int32_t id : ids) {
      std::erase(order_, id);
      ++refs_[id];
    }
  }
  bool Grow(Ids& table, size_t blocks) {
    for (; table.size() < blocks; table.push_back(Take())) {
      if (free() == 0) return false;
    }
    return true;
  }
  void Clear(Ids& table) {
    for (; !table.empty(); table.pop_back()) Drop(table.back());
  }
  void Insert(PrefixIndex::Namespace ns, const Tokens& tokens, Ids& table) {
    for (size_t i = 0; (i + 1) * block_size_ <= tokens.size(); ++i) {
      const auto [at, added] = known_.emplace(Start(ns, tokens, (i + 1) * block_size_), table[i]);
      if (added) added_.push_back(at->first);
      if (at->second == table[i]) continue;
      Hold({at->second});
      Drop(std::exchange(table[i], at->second));
    }
  }
  void Evict(PrefixIndex::Namespace ns) {
    for (size_t i = added_.size(); i-- > 0;) {  // the last one first
      if (added_[i].first == ns) Forget(known_.at(added_[i]), true);
    }
  }
  int exclusive(const Ids& table) const {
    return static_cast<int>(std::ranges::count_if(table, [this](int32_t id) { return refs_[id] == 1; }));
  }
  int free() const { return static_cast<int>(unused_.size() + order_.size()); }
  int size() const { return static_cast<int>(known_.size()); }
  const std::deque<int32_t>& order() const { return order_; }

 private:
  static Prefix Start(PrefixIndex::Namespace ns, const Tokens& tokens, size_t end) {
    return {ns, Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(end))};
  }
  int32_t Take() {
    if (unused_.empty()) Forget(order_.front(), true);
    const int32_t id = unused_.back();
    unused_.pop_back();
    refs_[id] = 1;
    return id;
  }
  void Drop(int32_t id) {
    if (--refs_[id] > 0) return;
    const bool cached = std::ranges::any_of(known_, [id](const auto& entry) { return entry.second == id; });
    cached ? order_.push_back(id) : unused_.push_back(id);
  }
  void Forget(int32_t id, bool unuse) {
    const auto entry = std::ranges::find(known_, id, [](const auto& known) { return known.second; });
    std::erase(added_, entry->first);
    known_.erase(entry);
    if (std::erase(order_, id) > 0 && unuse) unused_.push_back(id);
  }

  const size_t block_size_;
  std::map<Prefix, int32_t> known_;
  std::vector<Prefix> added_;  // the keys of known_, in the order in which they came
  std::vector<int> refs_;
  Ids unused_;
  std::deque<int32_t> order_;  // free and known, oldest first
};

// A sequence: what it has computed, in its blocks.
struct Pair {
  PrefixIndex::Namespace ns;
  Tokens tokens;
  BlockTable table;
  Ids expected;
};

class History {
 public:
  History(int seed, int blocks, int block_size)
      : random_(static_cast<unsigned>(seed)),
        block_size_(block_size),
        pool_(blocks),
        index_(block_size, pool_, {.low = static_cast<uint64_t>(seed)}),
        model_(blocks, block_size),
        written_(static_cast<size_t>(blocks)) {}

  void Step() {
    const unsigned what = random_() % 16;
    if (what < 5 || live_.empty()) {
      Begin();
    } else if (what < 9) {
      Continue(live_[random_() % live_.size()]);
    } else if (what < 15) {
      End(random_() % live_.size());
    } else {
      Evict();
    }
  }

  void Compare() const {
    ASSERT_EQ(pool_.free(), model_.free());
    ASSERT_EQ(index_.size(), model_.size());
    std::deque<int32_t> order;
    for (int32_t id = pool_.oldest(); id >= 0; id = pool_.NewerThan(id)) order.push_back(id);
    ASSERT_EQ(order, model_.order());
    for (const Pair& pair : live_) {
      ASSERT_EQ(Ids(pair.table.ids().begin(), pair.table.ids().end()), pair.expected);
      ASSERT_EQ(pair.table.exclusive(), model_.exclusive(pair.expected));
      for (size_t i = 0; i < pair.expected.size(); ++i) {
        ASSERT_EQ(written_[pair.expected[i]], Contents(pair, i)) << "block " << i;
      }
    }
    ASSERT_TRUE(index_.Check().ok()) << index_.Check();
  }

  void EndAll() {
    while (!live_.empty()) End(live_.size() - 1);
    ASSERT_EQ(pool_.free(), pool_.total());
  }

 private:
  // Few tokens and few lengths, so that prompts often begin alike.
  Tokens Prompt() {
    Tokens tokens(random_() % (5 * static_cast<size_t>(block_size_)));
    for (int32_t& token : tokens) token = static_cast<int32_t>(random_() % 8 == 0);
    return tokens;
  }
  size_t Blocks(const Tokens& tokens) const {
    return (tokens.size() + static_cast<size_t>(block_size_) - 1) / static_cast<size_t>(block_size_);
  }
  // What the `i`-th block of the cache would hold: the namespace, and the tokens up to the block's end.
  Prefix Contents(const Pair& pair, size_t i) const {
    const size_t end = std::min(pair.tokens.size(), (i + 1) * static_cast<size_t>(block_size_));
    return {pair.ns, Tokens(pair.tokens.begin(), pair.tokens.begin() + static_cast<ptrdiff_t>(end))};
  }
  // Computes what the table has no blocks of yet, or none that are full; gives up where the pool is empty.
  bool Compute(Pair& pair, size_t from_block) {
    const size_t blocks = Blocks(pair.tokens);
    const bool grown = pair.table.GrowTo(static_cast<int>(blocks), pool_);
    EXPECT_EQ(grown, model_.Grow(pair.expected, blocks));
    if (!grown) return false;
    for (size_t i = from_block; i < blocks; ++i) written_[pair.table.ids()[i]] = Contents(pair, i);
    if (random_() % 4 > 0) {
      index_.Insert(pair.ns, pair.tokens, pair.table);
      model_.Insert(pair.ns, pair.tokens, pair.expected);
    }
    return true;
  }
  void Begin() {
    Pair pair{.ns = first_namespace_ + random_() % 3, .tokens = Prompt(), .table = {}, .expected = {}};
    if (random_() % 5 > 0) {  // else it does not look, and computes what may be there
      pair.expected = model_.Find(pair.ns, pair.tokens);
      ASSERT_EQ(index_.Match(pair.ns, pair.tokens), static_cast<int>(pair.expected.size()));
      model_.Hold(pair.expected);
      ASSERT_EQ(index_.Hold(pair.ns, pair.tokens, pair.table), static_cast<int>(pair.expected.size()));
    }
    live_.push_back(std::move(pair));
    if (!Compute(live_.back(), live_.back().expected.size())) End(live_.size() - 1);
  }
  void Continue(Pair& pair) {
    if (pair.ns < first_namespace_) return;
    const size_t whole = pair.tokens.size() / static_cast<size_t>(block_size_);
    for (size_t more = random_() % 6; more > 0; --more) pair.tokens.push_back(2);
    if (!Compute(pair, whole)) End(static_cast<size_t>(&pair - live_.data()));
  }
  void End(size_t i) {
    model_.Clear(live_[i].expected);
    std::swap(live_[i], live_.back());
    live_.pop_back();
  }
  // The oldest of the three namespaces comes to its end, and a new one begins.
  void Evict() {
    index_.Evict(first_namespace_);
    model_.Evict(first_namespace_);
    ++first_namespace_;
  }

  std::mt19937 random_;
  const int block_size_;
  BlockPool pool_;
  PrefixIndex index_;
  Model model_;
  std::vector<Prefix> written_;  // [blocks] what was last computed in each
  std::vector<Pair> live_;
  PrefixIndex::Namespace first_namespace_ = 1;
};

TEST(PrefixHistory, DoesAsTheModelAfterEveryOperation) {
  for (int seed = 0; seed < 24; ++seed) {
    SCOPED_TRACE(seed);
    History history(seed, /*blocks=*/1 + seed * 3, /*block_size=*/1 + seed % 4);
    for (int step = 0; step < 300; ++step) {
      SCOPED_TRACE(step);
      ASSERT_NO_FATAL_FAILURE(history.Step());
      ASSERT_NO_FATAL_FAILURE(history.Compare());
    }
    ASSERT_NO_FATAL_FAILURE(history.EndAll());
  }
}

TEST(PrefixHistory, ALongOne) {
  History history(99, /*blocks=*/40, /*block_size=*/3);
  for (int step = 0; step < 20'000; ++step) {
    ASSERT_NO_FATAL_FAILURE(history.Step());
    if (step % 500 == 0) {
      ASSERT_NO_FATAL_FAILURE(history.Compare());
    }
  }
  ASSERT_NO_FATAL_FAILURE(history.EndAll());
}

}  // namespace
}  // namespace hydrad
