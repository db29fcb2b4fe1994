#include "client/bench/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <queue>

namespace hydrad {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Time that jumps to wherever somebody waits for, and what is due on the way there happens at its time.
class FakePacer final : public Pacer {
 public:
  TimePoint Now() const override { return now_; }
  void WaitUntil(TimePoint time) override {
    while (!due_.empty() && due_.top().time <= time) RunNext();
    now_ = std::max(now_, time);
  }
  void At(TimePoint time, std::function<void()> what) { due_.push({time, count_++, std::move(what)}); }
  void RunNext() {
    const Due next = due_.top();
    due_.pop();
    now_ = std::max(now_, next.time);
    next.what();
  }
  bool idle() const { return due_.empty(); }
  void Delay(Duration by) { now_ += by; }

 private:
  struct Due {
    TimePoint time;
    int order;
    std::function<void()> what;
    bool operator<(const Due& other) const {
      return std::tie(time, order) > std::tie(other.time, other.order);
    }
  };
  TimePoint now_{seconds(1000)};
  int count_ = 0;
  std::priority_queue<Due> due_;
};

// A server with one worker: each request takes `service`, then its two tokens and its end come at once.
class QueueTarget final : public BenchTarget {
 public:
  QueueTarget(FakePacer& pacer, Duration service) : pacer_(pacer), service_(service) {}
  void Start(const BenchRequest&, Events events) override {
    free_at_ = std::max(free_at_, pacer_.Now()) + service_;
    starts.push_back(pacer_.Now());
    most_running = std::max(most_running, ++running_);
    pacer_.At(free_at_, [this, events] {
      --running_;
      events.on_tokens(0, 1);
      events.on_tokens(0, 2);
      events.on_done(absl::StatusCode::kOk, 4, 3);
    });
    if (finish_at_once) pacer_.RunNext();
    if (on_start) on_start();
  }

  std::vector<TimePoint> starts;
  int most_running = 0;
  bool finish_at_once = false;
  std::function<void()> on_start;

 private:
  FakePacer& pacer_;
  const Duration service_;
  TimePoint free_at_{};
  int running_ = 0;
};

RequestSource Source() {
  return RequestSource({{"p", std::nullopt, 0}}, {"@base"}, AdapterMix(Mix::kUniform, 1, 1, 1), 8, 1);
}

TEST(Runner, OpenLoopSendsOnScheduleHoweverSlowTheServerIs) {
  FakePacer pacer;
  const TimePoint start = pacer.Now();
  QueueTarget target(pacer, milliseconds(1));
  target.finish_at_once = false;
  RequestSource source = Source();
  BenchLoad load{.rate = 10, .requests = 50, .seed = 3};
  target.on_start = [&] {
    if (target.starts.size() == 50) {
      while (!pacer.idle()) pacer.RunNext();
    }
  };
  const BenchReport report = RunBench(load, source, target, pacer);
  PoissonArrivals arrivals(10, 3);
  ASSERT_EQ(target.starts.size(), 50);
  for (const TimePoint at : target.starts) EXPECT_EQ(at - start, arrivals.Next());
  EXPECT_EQ(report.ok, 50);
  EXPECT_EQ(report.late.max, 0);
}

TEST(Runner, OpenLoopLatencyCountsTheWaitInTheServersQueue) {
  FakePacer pacer;
  QueueTarget target(pacer, seconds(1));  // ten times slower than the arrivals
  RequestSource source = Source();
  BenchLoad load{.rate = 10, .requests = 20, .seed = 3};
  target.on_start = [&] {
    if (target.starts.size() == 20) {
      while (!pacer.idle()) pacer.RunNext();
    }
  };
  const BenchReport report = RunBench(load, source, target, pacer);
  PoissonArrivals arrivals(10, 3);
  const double first = Seconds(arrivals.Next());
  double last = first;
  for (int i = 1; i < 20; ++i) last = Seconds(arrivals.Next());
  // The one worker is busy from the first arrival on, so the k-th request ends k seconds after it.
  EXPECT_NEAR(report.total.max, first + 20 - last, 1e-6);
  EXPECT_NEAR(report.seconds, first + 20, 1e-6);
  EXPECT_EQ(report.generated_tokens, 60);
}

TEST(Runner, SendingLateIsReportedAndCountedInTheLatency) {
  FakePacer pacer;
  QueueTarget target(pacer, milliseconds(1));
  target.finish_at_once = true;
  target.on_start = [&] { pacer.Delay(seconds(5)); };  // the client itself stalls
  RequestSource source = Source();
  const BenchReport report = RunBench({.rate = 100, .requests = 3, .seed = 1}, source, target, pacer);
  EXPECT_GT(report.late.max, 9);
  EXPECT_GE(report.total.max, report.late.max);
}

TEST(Runner, OpenLoopEndsWithTheDuration) {
  FakePacer pacer;
  QueueTarget target(pacer, milliseconds(1));
  target.finish_at_once = true;
  RequestSource source = Source();
  const BenchReport report =
      RunBench({.rate = 100, .duration = seconds(2), .seed = 1}, source, target, pacer);
  PoissonArrivals arrivals(100, 1);
  int due = 0;
  while (arrivals.Next() <= seconds(2)) ++due;
  EXPECT_EQ(report.requests, due);
}

TEST(Runner, ClosedLoopKeepsToItsConcurrency) {
  FakePacer pacer;
  QueueTarget target(pacer, milliseconds(100));
  // One request ends whenever three run, or when none is left to be sent.
  int sent = 0;
  target.on_start = [&] {
    ++sent;
    if (sent >= 3) pacer.RunNext();
    while (sent == 9 && !pacer.idle()) pacer.RunNext();
  };
  RequestSource source = Source();
  const BenchReport report = RunBench({.concurrency = 3, .requests = 9}, source, target, pacer);
  EXPECT_EQ(report.ok, 9);
  EXPECT_EQ(target.most_running, 3);
  EXPECT_NEAR(report.seconds, 0.9, 1e-9);
}

TEST(Runner, ClosedLoopEndsWithTheDuration) {
  FakePacer pacer;
  QueueTarget target(pacer, milliseconds(300));
  target.finish_at_once = true;
  RequestSource source = Source();
  const BenchReport report = RunBench({.concurrency = 1, .duration = seconds(1)}, source, target, pacer);
  EXPECT_EQ(report.requests, 4);  // at 0, 0.3, 0.6 and 0.9 s
}

// Plays one stream.
class ScriptTarget final : public BenchTarget {
 public:
  explicit ScriptTarget(std::function<void(const Events&)> script) : script_(std::move(script)) {}
  void Start(const BenchRequest&, Events events) override { script_(events); }

 private:
  const std::function<void(const Events&)> script_;
};

TEST(Runner, GapsAreBetweenTokensOfOneChoice) {
  FakePacer pacer;
  ScriptTarget target([&](const BenchTarget::Events& events) {
    pacer.Delay(milliseconds(500));
    events.on_tokens(0, 1);
    events.on_tokens(1, 1);  // the first of its choice: no gap
    events.on_tokens(0, 0);  // no token: nothing to time
    pacer.Delay(milliseconds(60));
    events.on_tokens(0, 3);  // three tokens share the gap
    pacer.Delay(milliseconds(40));
    events.on_tokens(1, 1);
    events.on_done(absl::StatusCode::kOk, 5, 6);
  });
  RequestSource source = Source();
  const BenchReport report = RunBench({.concurrency = 1, .requests = 1}, source, target, pacer);
  EXPECT_DOUBLE_EQ(report.first_token.p50, 0.5);
  EXPECT_EQ(report.inter_token.count, 4);
  EXPECT_NEAR(report.inter_token.mean, (3 * 0.02 + 0.1) / 4, 1e-6);
  EXPECT_NEAR(report.inter_token.max, 0.1, 1e-6);
  EXPECT_NEAR(report.total.p50, 0.6, 1e-9);
}

TEST(Runner, FailuresAreCountedByCode) {
  FakePacer pacer;
  int n = 0;
  ScriptTarget target([&](const BenchTarget::Events& events) {
    events.on_done(n++ % 2 == 0 ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk, 0, 0);
  });
  RequestSource source = Source();
  const BenchReport report = RunBench({.concurrency = 1, .requests = 5}, source, target, pacer);
  EXPECT_EQ(report.ok, 2);
  EXPECT_EQ(report.errors.at("RESOURCE_EXHAUSTED"), 3);
}

}  // namespace
}  // namespace hydrad
