// What tests of the engine and of the scheduler stand on: a fake model, adapters, tenants, and requests that
// can be made twice.
#ifndef HYDRAD_TESTS_SCHEDULER_RIG_H_
#define HYDRAD_TESTS_SCHEDULER_RIG_H_

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/scheduler/engine.h"
#include "server/scheduler/fit_to_model.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model.h"
#include "tests/fakes/recording_sink.h"
#include "tests/fakes/test_tokenizer.h"

namespace hydrad {

// Everything about a request that decides its output, and who asks.
struct RequestSpec {
  std::vector<int32_t> prompt = {token::kA, token::kB, token::kC};
  SamplingParams sampling;
  Stopping stopping;
  OutputOptions output;
  uint64_t seed = 1;
  int n = 1;
  int adapter = 0;                      // 0: the base model, else one of the RigWorld's
  Decision decision = Decision::kVote;  // of those, and for kLabel the expert
  int expert = 0;
  int tenant = 0;  // 0..kTenants - 1
  std::shared_ptr<AnswerGrammar> form;
};

// Tenants and adapters that outlive schedulers, and count what has not come back.
class RigWorld {
 public:
  static constexpr int kAdapters = 3, kTenants = 3;
  // Adapters that pick one of kExperts experts: by the last token, and by the mean of the prompt.
  static constexpr int kLastMoa = 4, kMeanMoa = 5, kExperts = 3;
  static constexpr int kInvoked = 6;  // counts from the last token::kA of the prompt on

  explicit RigWorld(std::vector<double> weights = {1, 2, 1});

  Request Make(RequestId id, const RequestSpec& spec, std::shared_ptr<TokenSink> sink) const;
  const Mixture& mixture(int adapter) const { return *adapters_[adapter - 1]->mixture; }
  // Whether no request holds an adapter.
  bool AllBack();

  FakeClock clock;
  Metrics metrics;
  const std::unique_ptr<const Tokenizer> tokenizer = MakeTestTokenizer();

 private:
  const std::vector<double> weights_;
  std::vector<std::shared_ptr<const AdapterGeneration>> adapters_;
};

// The fake model over the test tokenizer's vocabulary: ends and poison behave.
FakeModel::Options ModelOptions(ModelLimits limits, bool asynchronous = false);
constexpr ModelLimits kRoomy{
    .max_rows = 256, .max_logit_rows = 64, .max_context = 96, .block_size = 4, .kv_blocks = 2048};

// An engine with its model, and room to wait in.
struct EngineRig {
  EngineRig(RigWorld& world, const SchedulerOptions& options, const ModelLimits& limits,
            bool asynchronous = false)
      : model(ModelOptions(limits, asynchronous)),
        unsplit_rows(UnsplitRows(LimitsOf(options, limits))),
        engine(options, model, *world.tokenizer, world.clock, world.metrics),
        world_(world) {}

  // Submits; the sink is told of the rest. REQUIRES: the request fits.
  std::shared_ptr<RecordingSink> Add(RequestId id, const RequestSpec& spec, int stall_after = -1,
                                     std::optional<TimePoint> deadline = std::nullopt);
  void RunToEnd() {
    while (engine.Step()) {
    }
  }

  QueueLimit room{100000};
  FakeModel model;
  const int unsplit_rows;
  Engine engine;

 private:
  RigWorld& world_;
};

// What the request gets when it is alone on a fresh engine with room for everything.
RecordingSink::Record RunAlone(RigWorld& world, const RequestSpec& spec);

// A request of any kind that a client may send.
RequestSpec RandomSpec(std::mt19937_64& rng);

// The record of a request that ran among others equals that of its solo run: the same if it ended well, a
// beginning of the same if it was cut short.
void ExpectSameAsAlone(const RecordingSink::Record& got, const RecordingSink::Record& alone);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_SCHEDULER_RIG_H_
