// Design promise 1: what a sequence gets does not depend on who else is in the batch. Random scripts of
// sequences with different adapters join, leave, are cut into chunks, preempted and computed again in
// permuted blocks; every row of logits must be bit for bit that of the sequence alone, in one piece, on one
// thread.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "server/backend/cpu/cpu_backend.h"
#include "server/base/check.h"
#include "tests/model/adapters.h"
#include "tests/model/golden.h"
#include "tests/model/stepper.h"

namespace hydrad {
namespace {

constexpr int kSequences = 20, kMaxTokens = 40, kSteps = 60;
using Logits = std::vector<std::vector<float>>;  // [position][vocab]

// A model on a backend of its own, with the adapters of the script.
struct World {
  World(const std::string& dir, DType type, int threads) {
    backend = MakeCpuBackend({.threads = threads, .weight_type = type});
    auto loaded = LoadTransformer(
        dir, *backend, {.max_rows = 600, .max_logit_rows = 600, .block_size = 4, .kv_blocks = 160});
    HYDRAD_CHECK(loaded.ok());
    model = *std::move(loaded);
    Load({.rank = 4});
    Load({.rank = 3, .targets = {Projection::kQ, Projection::kV}});
    Load({.rank = 5,
          .experts = 4,
          .shared_a = true,
          .gate = {GateRule::kSoftmax},
          .targets = {Projection::kGate, Projection::kUp, Projection::kDown}});
    Load({.rank = 2, .experts = 3, .gate = {GateRule::kSoftmax}, .router_bias = true});
    Load({.rank = 17, .targets = {Projection::kO, Projection::kDown}});
    Load({.experts = 4, .gate = {GateRule::kTopK, 2, true}, .ranks = {1, 3, 8, 2}});
    Load({.rank = 3, .experts = 5, .gate = {GateRule::kThreshold, 0, false, 0.3f}, .router_bias = true});
    Load({.rank = 3, .experts = 5, .gate = {GateRule::kFixedThreshold, 0, false, 0.2f}});
    Load({.rank = 2, .targets = {Projection::kV, Projection::kDown}, .out_scale = true, .out_bias = true});
    Load({.rank = 3,
          .targets = {Projection::kEmbedding, Projection::kV, Projection::kHead},
          .out_scale = true,
          .out_bias = true});
    Load({.rank = 2,
          .targets = {Projection::kEmbedding, Projection::kQ},
          .embedding_tokens = {kAllTokens},
          .head_tokens = {7, 3, 0, 19, 2}});
    Load({.rank = 1,
          .targets = {Projection::kDown, Projection::kHead},
          .embedding_tokens = {5, 2, 30},
          .head_tokens = {kAllTokens}});
    Load({.rank = 4, .size = 1e30f});  // overflows: its own sequences turn to NaN, and no others
  }
  void Load(const RandomAdapterOptions& options) {
    const uint32_t seed = 100 + static_cast<uint32_t>(adapters.size());
    const AdapterShape shape = model->config().adapter_shape();
    auto loaded = backend->LoadAdapter(RandomAdapter(seed, shape, options), shape);
    HYDRAD_CHECK(loaded.ok());
    adapters.push_back(*std::move(loaded));
  }
  // -1 is the base model.
  const DeviceAdapter* adapter(int index) const { return index < 0 ? nullptr : adapters[index].get(); }

  std::unique_ptr<Backend> backend;
  std::unique_ptr<Transformer> model;
  std::vector<std::unique_ptr<DeviceAdapter>> adapters;
};

struct Script {
  std::vector<int> adapter;                  // per sequence, -1: base
  std::vector<int> second;                   // likewise, composed with it; -1: none
  std::vector<int> top_k;                    // per sequence
  std::vector<std::vector<int32_t>> tokens;  // per sequence
  std::vector<int> adapter_begin;            // per sequence, first position that the adapter changes
};

Script RandomScript(std::mt19937& random, int vocab, int adapters) {
  Script script;
  for (int s = 0; s < kSequences; ++s) {
    script.adapter.push_back(s % (adapters + 1) - 1);  // the base and every adapter has its turn
    const bool composed = script.adapter.back() >= 0 && random() % 3 == 0;
    script.second.push_back(composed ? static_cast<int>(random() % adapters) : -1);
    script.top_k.push_back(random() % 3 == 0 ? 1 + static_cast<int>(random() % 3) : 0);
    script.tokens.emplace_back(1 + random() % kMaxTokens);
    script.adapter_begin.push_back(random() % 3 == 0 ? static_cast<int>(random() % kMaxTokens) : 0);
    for (int32_t& token : script.tokens.back()) token = static_cast<int32_t>(random() % vocab);
  }
  return script;
}

TestSequence SequenceOf(const Script& script, int s, const World& world) {
  const std::vector<int32_t>& tokens = script.tokens[s];
  TestSequence sequence{.tokens = tokens, .adapter = world.adapter(script.adapter[s])};
  sequence.top_k = script.top_k[s];
  if (script.adapter_begin[s] > 0) {  // the rest of the prompt invokes it; one token more: nothing does
    sequence.invocation.assign(
        tokens.begin() + std::min<ptrdiff_t>(script.adapter_begin[s], std::ssize(tokens)), tokens.end());
    if (sequence.invocation.empty()) sequence.invocation.assign(tokens.size() + 1, 0);
  }
  if (script.second[s] >= 0) sequence.more = {{world.adapter(script.second[s]), -0.5f}};
  return sequence;
}

std::vector<Logits> RunAlone(const Script& script, World& world) {
  std::vector<Logits> result;
  for (int s = 0; s < kSequences; ++s) {
    BlockPool pool(world.model->limits().kv_blocks);
    TestSequence sequence = SequenceOf(script, s, world);
    const Chunk all{&sequence, static_cast<int>(sequence.tokens.size())};
    result.push_back(RunStep(*world.model, pool, {&all, 1}));
  }
  return result;
}

// Bit for bit, but that one NaN is as good as another.
void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& alone, const char* where) {
  ASSERT_EQ(got.size(), alone.size());
  if (std::memcmp(got.data(), alone.data(), got.size() * sizeof(float)) == 0) return;
  const auto same = [](float a, float b) {
    return std::memcmp(&a, &b, sizeof(a)) == 0 || (a != a && b != b);
  };
  const auto differs = std::mismatch(got.begin(), got.end(), alone.begin(), same);
  if (differs.first == got.end()) return;
  FAIL() << where << ": token " << differs.first - got.begin() << ": " << *differs.first << " together, "
         << *differs.second << " alone";
}

// The pool hands out ids in the order in which they come back; drawing all and returning them shuffled makes
// the blocks of every sequence scattered.
void Shuffle(BlockPool& pool, std::mt19937& random) {
  std::vector<BlockTable> all(static_cast<size_t>(pool.total()));
  for (BlockTable& one : all) HYDRAD_CHECK(one.GrowTo(1, pool));
  std::shuffle(all.begin(), all.end(), random);
  while (!all.empty()) all.pop_back();
}

// Some of the unfinished sequences, each by a random chunk, sorted so that those of one adapter are adjacent.
std::vector<Chunk> RandomStep(const Script& script, std::vector<TestSequence>& sequences,
                              std::mt19937& random) {
  std::vector<Chunk> chunks;
  for (TestSequence& s : sequences) {
    const int left = static_cast<int>(s.tokens.size()) - s.computed();
    if (left == 0 || random() % 3 == 0) continue;
    const int longest = random() % 2 == 0 ? 1 : left;
    chunks.push_back({&s, 1 + static_cast<int>(random() % std::min(left, longest))});
  }
  std::shuffle(chunks.begin(), chunks.end(), random);
  const auto adapter = [&](const Chunk& chunk) { return script.adapter[chunk.sequence - sequences.data()]; };
  std::stable_sort(chunks.begin(), chunks.end(),
                   [&](const Chunk& a, const Chunk& b) { return adapter(a) < adapter(b); });
  return chunks;
}

void RunTogether(const Script& script, World& world, const std::vector<Logits>& alone, std::mt19937& random) {
  BlockPool pool(world.model->limits().kv_blocks);
  Shuffle(pool, random);
  std::vector<TestSequence> sequences;
  for (int s = 0; s < kSequences; ++s) sequences.push_back(SequenceOf(script, s, world));
  for (int step = 0; step < kSteps; ++step) {
    if (step < kSteps / 2 && random() % 4 == 0) Preempt(sequences[random() % kSequences]);
    const std::vector<Chunk> chunks = RandomStep(script, sequences, random);
    if (chunks.empty()) continue;
    std::vector<int> first;
    for (const Chunk& chunk : chunks) first.push_back(chunk.sequence->computed());
    const auto logits = RunStep(*world.model, pool, chunks);
    size_t row = 0;
    for (size_t c = 0; c < chunks.size(); ++c) {
      const auto s = chunks[c].sequence - sequences.data();
      for (int i = 0; i < chunks[c].tokens; ++i, ++row) {
        const std::string where = fmt::format("step {}, sequence {}, adapter {}, position {}", step, s,
                                              script.adapter[s], first[c] + i);
        ASSERT_NO_FATAL_FAILURE(ExpectSameBits(logits[row], alone[s][first[c] + i], where.c_str()));
      }
    }
  }
  for (const TestSequence& s : sequences) EXPECT_EQ(s.computed(), static_cast<int>(s.tokens.size()));
}

struct Case {
  const char* model;
  DType type;
};

std::string DirOf(const Case& c) {
  return c.model == std::string("smollm2") ? Smollm2Dir() : std::string("tests/golden/models/") + c.model;
}

class AloneOrTogether : public ::testing::TestWithParam<Case> {};

TEST_P(AloneOrTogether, LogitsAreTheSameBitForBit) {
  const std::string dir = DirOf(GetParam());
  World solo(dir, GetParam().type, 1);
  std::mt19937 random(11);
  const int adapters = static_cast<int>(solo.adapters.size());
  const Script script = RandomScript(random, solo.model->config().vocab_size, adapters);
  const std::vector<Logits> alone = RunAlone(script, solo);
  for (int threads = 1; threads <= 3; ++threads) {
    World world(dir, GetParam().type, threads);
    SCOPED_TRACE(threads);
    ASSERT_NO_FATAL_FAILURE(RunTogether(script, world, alone, random));
    ASSERT_NO_FATAL_FAILURE(RunTogether(script, world, alone, random));  // over what the first left behind
  }
}

// The test above would pass if adapters did nothing, or if the one that overflows did not.
TEST_P(AloneOrTogether, AdaptersMatter) {
  World world(DirOf(GetParam()), GetParam().type, 1);
  const auto answer = [&](int adapter) {
    BlockPool pool(8);
    TestSequence sequence{.tokens = {1, 2, 3}, .adapter = world.adapter(adapter)};
    const Chunk all{&sequence, 3};
    return RunStep(*world.model, pool, {&all, 1}).back();
  };
  const int last = static_cast<int>(world.adapters.size()) - 1;
  std::map<std::vector<float>, int> seen;
  for (int a = -1; a < last; ++a) {
    const auto [position, fresh] = seen.emplace(answer(a), a);
    EXPECT_TRUE(fresh) << "adapter " << a << " answers as adapter " << position->second;
  }
  EXPECT_TRUE(std::isnan(answer(last)[0]));
}

#ifdef HYDRAD_SMOLLM2
constexpr Case kCases[] = {{"smollm2", DType::kBf16}};
#else
constexpr Case kCases[] = {{"llama", DType::kF32},
                           {"llama", DType::kBf16},
                           {"qwen2", DType::kBf16},
                           {"qwen3", DType::kF32},
                           {"qwen3", DType::kBf16}};
#endif
INSTANTIATE_TEST_SUITE_P(Models, AloneOrTogether, ::testing::ValuesIn(kCases), [](const auto& info) {
  return std::string(info.param.model) + (info.param.type == DType::kF32 ? "_f32" : "_bf16");
});

}  // namespace
}  // namespace hydrad
