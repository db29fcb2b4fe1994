// Every golden case of tests/golden asked of the real daemon over gRPC: with the adapter on disk, on the
// device and evicted from it, for one choice and for three, which must all be the reference's. Built twice:
// for the small models, and with HYDRAD_SMOLLM2 for the default model.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/e2e/golden_daemon.h"

namespace hydrad {
namespace {

#ifdef HYDRAD_SMOLLM2
constexpr bool kOfSmollm2 = true;
#else
constexpr bool kOfSmollm2 = false;
#endif

// Logits of one position, by token.
using Row = std::map<int, double>;

// Where the adapter is when it is asked for, and how many choices of it.
struct Way {
  enum From { kDisk, kDevice, kEvicted };  // kEvicted: not on the device any more
  const char* use;
  From from;
  int n;
};
constexpr Way kWays[] = {{"disk", Way::kDisk, 1},       {"disk_thrice", Way::kDisk, 3},
                         {"device", Way::kDevice, 1},   {"device_thrice", Way::kDevice, 3},
                         {"evicted", Way::kEvicted, 1}, {"evicted_thrice", Way::kEvicted, 3}};

std::vector<std::string> AllNames() {
  std::vector<std::string> names = GoldenNames(/*adapter=*/false, kOfSmollm2);
  const auto append = [&](const std::vector<std::string>& more) {
    names.insert(names.end(), more.begin(), more.end());
  };
  append(GoldenNames(/*adapter=*/true, kOfSmollm2));
  if (!kOfSmollm2) append(MoaGoldenNames());
  return names;
}

// The cases of one model follow each other.
std::vector<std::string> NamesByModel() {
  std::vector<std::string> names = AllNames();
  std::map<std::string, std::string> model;
  for (const std::string& name : names) model[name] = LoadGolden(name).model;
  std::ranges::stable_sort(names, {}, [&](const std::string& name) { return model[name]; });
  return names;
}

class GoldenDaemonTest : public testing::TestWithParam<std::string> {
 protected:
  static void TearDownTestSuite() { daemon_.reset(); }

  // The daemon of the case's model. There is one at a time.
  GoldenDaemon& Daemon() {
    const std::string model = ModelDir(golden_);
    if (daemon_ == nullptr || model != model_) {
      daemon_.reset();
      std::vector<GoldenCase> cases;
      for (const std::string& name : AllNames()) {
        GoldenCase golden = LoadGolden(name);
        if (golden.model == golden_.model) cases.push_back(std::move(golden));
      }
      std::vector<std::string> uses;
      for (const Way& way : kWays) uses.push_back(way.use);
      daemon_ = std::make_unique<GoldenDaemon>(model, cases, uses);
      model_ = model;
    }
    return *daemon_;
  }

  // Moves the case's adapters to where the way wants them.
  void Bring(const Way& way) {
    if (golden_.adapters.empty()) return;
    if (way.from != Way::kDisk) Daemon().Ask(golden_, golden_.prompts[0], way.use, 1);
    if (way.from == Way::kEvicted) Daemon().EvictAll();
    for (size_t i = 0; i < golden_.adapters.size(); ++i) {
      const std::string name = GoldenDaemon::NameOf(golden_, i, way.use);
      const v1::Adapter::Tier tier = Daemon().Get(name).tier();
      EXPECT_EQ(tier == v1::Adapter::DEVICE, way.from == Way::kDevice) << name;
      if (way.from == Way::kDisk) {
        EXPECT_EQ(tier, v1::Adapter::DISK) << name;
      }
    }
  }

  const GoldenCase golden_ = LoadGolden(GetParam());

 private:
  static inline std::unique_ptr<GoldenDaemon> daemon_;
  static inline std::string model_;
};

std::map<int, Row> RowsOf(const GoldenPrompt& prompt) {
  std::map<int, Row> rows;
  for (const GoldenLogit& logit : prompt.logits) rows[logit.position][logit.token] = logit.value;
  return rows;
}

// What is taken from a logit to make it a log-probability. Where the reference has not stored the whole row
// it is taken from the answer's first token that the reference has: then differences are compared.
double Normalizer(const Row& row, const v1::Logprob& got) {
  if (row.rbegin()->first + 1 != static_cast<int>(row.size())) {
    for (const v1::TokenLogprob& top : got.top()) {
      if (row.contains(top.token())) return row.at(top.token()) - top.logprob();
    }
    return NAN;
  }
  double sum = 0;
  for (const auto& [token, logit] : row) sum += std::exp(logit - row.begin()->second);
  return row.begin()->second + std::log(sum);
}

// A logit may be off by `bound`, and so may the normalizer; the rest is for float32's roundings of numbers of
// this size. Returns how many were compared.
int CompareRow(const Row& row, const v1::Logprob& got, float bound) {
  const double normalizer = Normalizer(row, got), allowed = 2 * bound + 2e-5;
  int compared = 0;
  std::vector<v1::TokenLogprob> all(got.top().begin(), got.top().end());
  all.push_back(got.token());
  for (const v1::TokenLogprob& token : all) {
    const auto want = row.find(token.token());
    if (want == row.end() || std::isnan(normalizer)) continue;
    EXPECT_NEAR(token.logprob(), want->second - normalizer, allowed) << "token " << token.token();
    ++compared;
  }
  return compared;
}

void CheckPrompt(const GoldenPrompt& prompt, const v1::GenerateResult& got) {
  const std::map<int, Row> rows = RowsOf(prompt);
  ASSERT_EQ(got.start().prompt_logprobs_size(), got.start().prompt_tokens() - 1);
  for (int p = 0; p < got.start().prompt_logprobs_size(); ++p) {
    const v1::Logprob& logprob = got.start().prompt_logprobs(p);
    ASSERT_EQ(logprob.token().token(), prompt.ids[static_cast<size_t>(p) + 1]);
    const auto row = rows.find(p);
    if (row == rows.end()) continue;
    SCOPED_TRACE(fmt::format("prompt position {}", p));
    EXPECT_GT(CompareRow(row->second, logprob, prompt.f32_bound), 0);
  }
}

// As far as the reference's margins go: each of two logits may be off by one bound.
void CheckChoice(const GoldenPrompt& prompt, const v1::Chunk& choice, int max_context) {
  const std::map<int, Row> rows = RowsOf(prompt);
  const size_t room = static_cast<size_t>(max_context) - prompt.ids.size();
  const size_t tokens = std::min(prompt.greedy.size(), room);
  ASSERT_EQ(choice.token_ids_size(), static_cast<int>(tokens));
  ASSERT_EQ(choice.logprobs_size(), static_cast<int>(tokens));
  EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_LENGTH);
  for (size_t i = 0; i < tokens && prompt.margins[i] > 2 * prompt.f32_bound; ++i) {
    SCOPED_TRACE(fmt::format("generated token {}", i));
    const int at = static_cast<int>(i);
    ASSERT_EQ(choice.token_ids(at), prompt.greedy[i]);
    ASSERT_EQ(choice.logprobs(at).token().token(), prompt.greedy[i]);
    const auto row = rows.find(static_cast<int>(prompt.ids.size()) - 1 + at);
    if (row == rows.end()) continue;
    EXPECT_GT(CompareRow(row->second, choice.logprobs(at), prompt.f32_bound), 0);
  }
}

void CheckRoute(const GoldenCase& golden, const GoldenPrompt& prompt, const v1::GenerateResult& got,
                const v1::Adapter& adapter) {
  ASSERT_TRUE(got.start().has_route());
  const v1::ExpertRoute& route = got.start().route();
  for (size_t layer = 0; layer < prompt.route.size(); ++layer) {
    const std::string& used =
        golden.decision == Decision::kLayer ? route.votes(static_cast<int>(layer)) : route.expert();
    EXPECT_EQ(used, adapter.expert_names(prompt.route[layer])) << "layer " << layer;
  }
}

// Of the base model, and of a large one, not all.
std::vector<Way> WaysOf(const GoldenCase& golden) {
  if (golden.adapters.empty()) return {kWays[0], kWays[1]};
  if (kOfSmollm2) return {kWays[0], kWays[5]};
  return {std::begin(kWays), std::end(kWays)};
}

TEST_P(GoldenDaemonTest, AnswersAsTheReference) {
  for (const Way& way : WaysOf(golden_)) {
    SCOPED_TRACE(way.use);
    Bring(way);
    for (size_t p = 0; p < golden_.prompts.size(); ++p) {
      SCOPED_TRACE(fmt::format("prompt {}", p));
      const GoldenPrompt& prompt = golden_.prompts[p];
      const v1::GenerateResult got = Daemon().Ask(golden_, prompt, way.use, way.n);
      ASSERT_EQ(got.choices_size(), way.n);
      if (way.n == 1) CheckPrompt(prompt, got);
      if (golden_.decision)
        CheckRoute(golden_, prompt, got, Daemon().Get(GoldenDaemon::NameOf(golden_, 0, way.use)));
      if (got.start().prompt_tokens() < static_cast<int>(prompt.ids.size())) continue;  // its end was cut off
      for (const v1::Chunk& choice : got.choices()) CheckChoice(prompt, choice, Daemon().max_context());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenDaemonTest, testing::ValuesIn(NamesByModel()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
