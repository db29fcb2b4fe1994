#include "client/bench/runner.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "server/base/check.h"
#include "server/base/mutex.h"

namespace hydrad {
namespace {

// The samples of ended requests and the number of the others. Thread-safe; shared with the callbacks, of
// which the last may still be leaving Ended when RunBench has returned.
class Ledger {
 public:
  void Started() {
    MutexLock lock(&mu_);
    ++running_;
  }
  void Ended(RequestSample sample, TimePoint now) {
    MutexLock lock(&mu_);
    samples_.push_back(std::move(sample));
    last_end_ = std::max(last_end_, now);
    --running_;
  }
  // Waits until fewer than `limit` are running.
  void AwaitBelow(int limit) {
    MutexLock lock(&mu_);
    mu_.Await([this, limit]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_ < limit; });
  }
  BenchReport Report(TimePoint start) {
    MutexLock lock(&mu_);
    return Summarise(samples_, samples_.empty() ? 0 : Seconds(last_end_ - start));
  }

 private:
  Mutex mu_;
  std::vector<RequestSample> samples_ ABSL_GUARDED_BY(mu_);
  TimePoint last_end_ ABSL_GUARDED_BY(mu_) = TimePoint::min();
  int running_ ABSL_GUARDED_BY(mu_) = 0;
};

// Times one request. Its callbacks come one at a time, so it needs no lock of its own.
class Stopwatch {
 public:
  Stopwatch(std::string adapter, TimePoint due, std::shared_ptr<Ledger> ledger, const Clock& clock)
      : due_(due), ledger_(std::move(ledger)), clock_(clock) {
    sample_.adapter = std::move(adapter);
    sample_.late = Seconds(clock.Now() - due);
    ledger_->Started();
  }

  void OnTokens(int choice, int tokens) {
    const TimePoint now = clock_.Now();
    if (sample_.first_token < 0) sample_.first_token = Seconds(now - due_);
    const auto [last, first_of_choice] = last_.try_emplace(choice, now);
    if (!first_of_choice) {
      const float gap = static_cast<float>(Seconds(now - last->second) / tokens);
      sample_.inter_token.insert(sample_.inter_token.end(), tokens, gap);
    }
    last->second = now;
  }
  void OnDone(absl::StatusCode code, int prompt_tokens, int generated_tokens) {
    const TimePoint now = clock_.Now();
    sample_.code = code;
    sample_.total = Seconds(now - due_);
    sample_.prompt_tokens = prompt_tokens;
    sample_.generated_tokens = generated_tokens;
    ledger_->Ended(std::move(sample_), now);
  }

 private:
  const TimePoint due_;
  const std::shared_ptr<Ledger> ledger_;
  const Clock& clock_;
  RequestSample sample_;
  std::map<int, TimePoint> last_;  // the last token of each choice
};

void Send(const BenchRequest& request, TimePoint due, const std::shared_ptr<Ledger>& ledger,
          BenchTarget& target, const Clock& clock) {
  const auto watch = std::make_shared<Stopwatch>(request.adapter, due, ledger, clock);
  BenchTarget::Events events;
  events.on_tokens = [watch](int choice, int tokens) {
    if (tokens > 0) watch->OnTokens(choice, tokens);
  };
  events.on_done = [watch](absl::StatusCode code, int prompt, int generated) {
    watch->OnDone(code, prompt, generated);
  };
  target.Start(request, std::move(events));
}

class SteadyPacer final : public Pacer {
 public:
  TimePoint Now() const override { return SteadyClock().Now(); }
  void WaitUntil(TimePoint time) override { std::this_thread::sleep_until(time); }
};

}  // namespace

Pacer& RealPacer() {
  static SteadyPacer pacer;
  return pacer;
}

BenchReport RunBench(const BenchLoad& load, RequestSource& source, BenchTarget& target, Pacer& pacer) {
  HYDRAD_CHECK((load.rate > 0) != (load.concurrency > 0));
  HYDRAD_CHECK(load.requests > 0 || load.duration > Duration::zero());
  const int requests = load.requests > 0 ? load.requests : std::numeric_limits<int>::max();
  const Duration duration = load.duration > Duration::zero() ? load.duration : Duration::max();
  const TimePoint start = pacer.Now();
  PoissonArrivals arrivals(load.rate > 0 ? load.rate : 1, load.seed);
  const auto ledger = std::make_shared<Ledger>();
  for (int sent = 0; sent < requests; ++sent) {
    Duration due;
    if (load.rate > 0) {
      due = arrivals.Next();
      if (due > duration) break;
      pacer.WaitUntil(start + due);
    } else {
      ledger->AwaitBelow(load.concurrency);
      due = pacer.Now() - start;
      if (due > duration) break;
    }
    Send(source.Next(), start + due, ledger, target, pacer);
  }
  ledger->AwaitBelow(1);
  return ledger->Report(start);
}

}  // namespace hydrad
