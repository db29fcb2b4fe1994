// A token sink that remembers what it was told and checks the order of it.
#ifndef HYDRAD_TESTS_FAKES_RECORDING_SINK_H_
#define HYDRAD_TESTS_FAKES_RECORDING_SINK_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/base/check.h"
#include "server/base/mutex.h"
#include "server/scheduler/token_sink.h"

namespace hydrad {

// Thread-safe.
class RecordingSink final : public TokenSink {
 public:
  // One choice's output, joined.
  struct Choice {
    std::string text;
    std::vector<int32_t> tokens;
    std::vector<Sampled> logprobs;
    bool finished = false;
    FinishReason reason = FinishReason::kLength;
    std::string stop;
    int pieces = 0;
  };
  struct Record {
    int starts = 0, dones = 0;
    std::vector<uint64_t> generations;
    std::vector<Sampled> prompt_logprobs;
    std::optional<RouteTaken> route;
    std::map<int, Choice> choices;
    absl::Status status;
    Usage usage;
  };

  // Answers false from piece number `stall_after` on.
  explicit RecordingSink(int stall_after = -1) : stall_after_(stall_after) {}

  // Called within OnDone, on the scheduler's thread.
  std::function<void()> on_done;

  void OnStart(OutputStart start) override {
    MutexLock lock(&mu_);
    HYDRAD_CHECK(record_.starts == 0 && record_.dones == 0);
    record_.starts = 1;
    record_.generations = std::move(start.generations);
    record_.prompt_logprobs = std::move(start.prompt_logprobs);
    record_.route = std::move(start.route);
  }

  bool OnPiece(OutputPiece piece) override {
    MutexLock lock(&mu_);
    HYDRAD_CHECK(record_.starts == 1 && record_.dones == 0);
    HYDRAD_CHECK(piece.finished || !piece.text.empty() || !piece.tokens.empty());
    Choice& choice = record_.choices[piece.choice];
    HYDRAD_CHECK(!choice.finished);
    choice.text += piece.text;
    choice.tokens.insert(choice.tokens.end(), piece.tokens.begin(), piece.tokens.end());
    choice.logprobs.insert(choice.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
    choice.finished = piece.finished;
    choice.reason = piece.reason;
    choice.stop = piece.stop;
    ++choice.pieces;
    return stall_after_ < 0 || ++pieces_ < stall_after_;
  }

  void OnDone(absl::Status status, const Usage& usage) override {
    if (on_done) on_done();
    MutexLock lock(&mu_);
    record_.status = std::move(status);
    record_.usage = usage;
    HYDRAD_CHECK(++record_.dones == 1);
  }

  // What was told so far.
  Record record() const {
    MutexLock lock(&mu_);
    return record_;
  }
  bool done() const { return record().dones == 1; }
  Record AwaitDone() const {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return record_.dones == 1; });
    return record_;
  }
  void AwaitStart() const {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return record_.starts == 1; });
  }

 private:
  const int stall_after_;
  mutable Mutex mu_;
  int pieces_ ABSL_GUARDED_BY(mu_) = 0;
  Record record_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_RECORDING_SINK_H_
