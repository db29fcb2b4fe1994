// What a step costs besides the model: the engine over a model that does nothing. Prints microseconds per
// step and per row.
//
//   scheduler_bench [--asynchronous] [--decode=N]
//
// --asynchronous: the model says that it is, so that the next step is prepared while one runs. --decode=N:
// only N sequences that decode, for an instruction count:
//
//   valgrind --tool=callgrind --toggle-collect='hydrad::Engine::Step()' scheduler_bench --decode=64 ...
//
// What Engine::PrepareNext takes of that is done while the device runs, the rest between two steps.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "server/base/check.h"
#include "server/base/status.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

// Draws the same short token at once.
class IdleModel final : public Model {
 public:
  explicit IdleModel(bool asynchronous) : asynchronous_(asynchronous) {
    config_.vocab_size = token::kCount;
    limits_ = {
        .max_rows = 1024, .max_logit_rows = 512, .max_context = 8192, .block_size = 16, .kv_blocks = 200000};
  }
  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }
  bool asynchronous() const override { return asynchronous_; }
  Step Launch(const Batch&, std::span<const Draw> draws, std::span<const ScoreRow>) override {
    sampled_.resize(draws.size());
    for (Sampled& drawn : sampled_) drawn.token = token::kAb;
    return Step(*this);
  }

 protected:
  absl::StatusOr<StepResult> Finish() override {
    return StepResult{.sampled = sampled_, .scores = {}, .gates = {}, .routes = {}};
  }

 private:
  const bool asynchronous_;
  ModelConfig config_;
  ModelLimits limits_;
  std::vector<Sampled> sampled_;
};

class SilentSink final : public TokenSink {
 public:
  void OnStart(OutputStart) override {}
  bool OnPiece(OutputPiece) override { return true; }
  void OnDone(absl::Status, const Usage&) override {}
};

// The median of many short measurements: other work on the machine lengthens some of them.
double MicrosPerStep(Engine& engine, int rounds, int steps) {
  std::vector<double> micros;
  for (int round = 0; round < rounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < steps; ++i) {
      HYDRAD_CHECK(engine.Step());
      engine.Publish(0);
    }
    const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
    micros.push_back(taken.count() / steps);
  }
  std::ranges::sort(micros);
  return micros[micros.size() / 2];
}

RequestSpec Spec(int prompt, int i) {
  RequestSpec spec;
  spec.prompt.assign(prompt, token::kA);
  spec.stopping.max_tokens = 4000;
  spec.stopping.stop = {"\n\n", "###"};
  spec.adapter = i % (RigWorld::kAdapters + 1);
  spec.tenant = i % RigWorld::kTenants;
  return spec;
}

// `running` sequences decode at a context of `prompt` while `waiting` requests queue.
void Decode(int running, int prompt, int waiting, bool asynchronous) {
  RigWorld world;
  IdleModel model(asynchronous);
  QueueLimit room(100000);
  Engine engine({.max_running = running, .prefill_chunk = 1024}, model, *world.tokenizer, world.clock,
                world.metrics);
  const auto sink = std::make_shared<SilentSink>();
  for (int i = 0; i < running + waiting; ++i)
    engine.Add(world.Make(i + 1, Spec(prompt, i), sink), *room.Take());
  while (room.taken() > waiting) engine.Step();
  for (int i = 0; i < 20; ++i) engine.Step();
  const double micros = MicrosPerStep(engine, 100, 10);
  std::printf("decode  %4d rows, context %5d, %5d waiting: %8.1f us a step, %6.3f us a row\n", running,
              prompt, waiting, micros, micros / running);
  engine.EndAll(Cancelled("measured"));
}

void Prefill(int chunk, bool asynchronous) {
  RigWorld world;
  IdleModel model(asynchronous);
  QueueLimit room(100000);
  Engine engine({.max_running = 64, .prefill_chunk = chunk}, model, *world.tokenizer, world.clock,
                world.metrics);
  const auto sink = std::make_shared<SilentSink>();
  for (int i = 0; i < 200; ++i) engine.Add(world.Make(i + 1, Spec(4000, i), sink), *room.Take());
  const double micros = MicrosPerStep(engine, 25, 4);
  std::printf("prefill %4d rows: %8.1f us a step, %6.3f us a row\n", chunk, micros, micros / chunk);
  engine.EndAll(Cancelled("measured"));
}

void Run(int argc, char** argv) {
  bool asynchronous = false;
  int only = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--asynchronous") asynchronous = true;
    if (arg.starts_with("--decode=")) only = std::atoi(argv[i] + 9);
  }
  if (only > 0) return Decode(only, 256, 0, asynchronous);
  for (const int running : {1, 8, 32, 128, 512}) Decode(running, 256, 0, asynchronous);
  Decode(128, 4000, 0, asynchronous);
  Decode(128, 256, 400, asynchronous);
  for (const int chunk : {64, 256, 1024}) Prefill(chunk, asynchronous);
}

}  // namespace
}  // namespace hydrad

int main(int argc, char** argv) { hydrad::Run(argc, argv); }
