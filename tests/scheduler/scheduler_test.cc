#include "server/scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <thread>

#include "server/base/status.h"
#include "tests/scheduler/rig.h"

namespace hydrad {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr ModelLimits kSmall{
    .max_rows = 16, .max_logit_rows = 8, .max_context = 64, .block_size = 4, .kv_blocks = 24};

// Lets the model take steps only while it is open.
class Gate {
 public:
  void Pass() {
    {
      MutexLock lock(&mu_);
      ++arrived_;
    }
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_; });
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
  }
  // Until the scheduler stands before the gate.
  void AwaitArrival() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return arrived_ > 0; });
  }

 private:
  Mutex mu_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  int arrived_ ABSL_GUARDED_BY(mu_) = 0;
};

RequestSpec Long(int max_tokens) {
  RequestSpec spec;
  spec.stopping.max_tokens = max_tokens;
  spec.stopping.ignore_eos = true;
  return spec;
}

class SchedulerTest : public testing::Test {
 protected:
  void Start(const SchedulerOptions& options = {}) {
    scheduler_ =
        std::make_unique<Scheduler>(options, model_, *world_.tokenizer, world_.clock, world_.metrics);
  }
  void CloseGate() {
    model_.on_forward = [this](const Batch&) { gate_.Pass(); };
  }
  absl::StatusCode Submit(RequestId id, const RequestSpec& spec, std::shared_ptr<RecordingSink> sink) {
    return scheduler_->Submit(world_.Make(id, spec, std::move(sink))).code();
  }
  std::shared_ptr<RecordingSink> Submitted(RequestId id, const RequestSpec& spec = {}) {
    auto sink = std::make_shared<RecordingSink>();
    EXPECT_EQ(Submit(id, spec, sink), absl::StatusCode::kOk);
    return sink;
  }

  RigWorld world_;
  FakeModel model_{ModelOptions(kSmall)};
  Gate gate_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, ServesARequest) {
  Start();
  const RequestSpec spec = Long(8);
  ExpectSameAsAlone(Submitted(1, spec)->AwaitDone(), RunAlone(world_, spec));
}

TEST_F(SchedulerTest, RefusesWhatCanNeverFit) {
  Start();
  RequestSpec spec;
  spec.prompt.clear();
  EXPECT_EQ(Submit(1, spec, std::make_shared<RecordingSink>()), absl::StatusCode::kInvalidArgument);
  spec.prompt.assign(kSmall.max_context, 0);
  EXPECT_EQ(Submit(1, spec, std::make_shared<RecordingSink>()), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(world_.AllBack());
}

TEST_F(SchedulerTest, AFullQueueRefusesAndHasRoomAgain) {
  CloseGate();
  Start({.max_running = 1, .max_waiting = 2});
  const auto first = Submitted(1);
  gate_.AwaitArrival();
  const auto second = Submitted(2), third = Submitted(3);
  EXPECT_EQ(scheduler_->status().waiting, 2);
  const auto refused = std::make_shared<RecordingSink>();
  EXPECT_EQ(Submit(4, {}, refused), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused->record().dones, 0) << "a refused request's sink hears nothing";
  gate_.Open();
  for (const auto& sink : {first, second, third}) EXPECT_TRUE(sink->AwaitDone().status.ok());
  EXPECT_TRUE(Submitted(5)->AwaitDone().status.ok());
}

TEST_F(SchedulerTest, ACancelTakesEffectWithinTwoSteps) {
  CloseGate();
  Start();
  const auto sink = Submitted(1, Long(50));
  gate_.AwaitArrival();
  scheduler_->Cancel(1, Cancelled("client"));
  scheduler_->Cancel(1, Cancelled("twice"));
  scheduler_->Cancel(2, Cancelled("unknown"));
  gate_.Open();
  EXPECT_EQ(sink->AwaitDone().status.message(), "client");
  EXPECT_LE(model_.steps(), 2);
}

TEST_F(SchedulerTest, ACancelFollowsItsSubmitEvenInTheInbox) {
  CloseGate();
  Start();
  const auto blocker = Submitted(1);
  gate_.AwaitArrival();
  const auto sink = Submitted(2);
  scheduler_->Cancel(2, DeadlineExceeded("late"));
  gate_.Open();
  const RecordingSink::Record record = sink->AwaitDone();
  EXPECT_EQ(record.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(record.starts, 0);
  blocker->AwaitDone();
}

TEST_F(SchedulerTest, DrainLetsAllEndAndRefusesTheRest) {
  CloseGate();
  Start({.max_running = 1});
  const auto running = Submitted(1, Long(20)), waiting = Submitted(2, Long(20));
  gate_.AwaitArrival();
  std::thread drainer([this] { scheduler_->Drain(hours(1)); });
  while (!scheduler_->status().draining) std::this_thread::yield();
  EXPECT_EQ(Submit(3, {}, std::make_shared<RecordingSink>()), absl::StatusCode::kUnavailable);
  gate_.Open();
  drainer.join();
  EXPECT_TRUE(running->record().status.ok());
  EXPECT_TRUE(waiting->record().status.ok());
  EXPECT_TRUE(running->done() && waiting->done());
  scheduler_->Drain(hours(1));
  EXPECT_EQ(Submit(4, {}, std::make_shared<RecordingSink>()), absl::StatusCode::kUnavailable);
}

TEST_F(SchedulerTest, DrainCancelsWhatIsLeftAtTheLimit) {
  const auto running = std::make_shared<RecordingSink>();
  bool first = true;
  model_.on_forward = [&](const Batch&) {
    gate_.Pass();
    if (!std::exchange(first, false)) world_.clock.Advance(seconds(4));
  };
  Start({.max_running = 1});
  ASSERT_EQ(Submit(1, Long(50), running), absl::StatusCode::kOk);
  const auto waiting = Submitted(2, Long(50));
  gate_.AwaitArrival();
  std::thread drainer([this] { scheduler_->Drain(seconds(10)); });
  while (!scheduler_->status().draining) std::this_thread::yield();
  gate_.Open();
  drainer.join();
  EXPECT_EQ(running->record().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting->record().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(running->record().starts, 1);
  EXPECT_EQ(waiting->record().starts, 0);
  EXPECT_EQ(scheduler_->status().kv_blocks_free, kSmall.kv_blocks);
  EXPECT_TRUE(world_.AllBack());
}

TEST_F(SchedulerTest, TheDestructorEndsEverything) {
  Start();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (RequestId id = 1; id <= 20; ++id) sinks.push_back(Submitted(id, Long(50)));
  scheduler_.reset();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->done());
  EXPECT_TRUE(world_.AllBack());
}

TEST_F(SchedulerTest, ASinkMaySubmitAndCancelFromItsLastCall) {
  Start();
  const auto second = std::make_shared<RecordingSink>(), first = std::make_shared<RecordingSink>();
  first->on_done = [&] {
    scheduler_->Cancel(1, Cancelled("gone already"));
    EXPECT_EQ(Submit(2, {}, second), absl::StatusCode::kOk);
  };
  ASSERT_EQ(Submit(1, {}, first), absl::StatusCode::kOk);
  EXPECT_TRUE(second->AwaitDone().status.ok());
}

TEST_F(SchedulerTest, BeatsWhileIdleAndNotWhileStuck) {
  CloseGate();
  Start();
  world_.clock.Advance(seconds(5));
  while (scheduler_->status().since_heartbeat > Duration::zero()) std::this_thread::yield();
  const auto sink = Submitted(1);
  gate_.AwaitArrival();
  world_.clock.Advance(seconds(5));
  EXPECT_EQ(scheduler_->status().since_heartbeat, seconds(5));
  gate_.Open();
  sink->AwaitDone();
}

TEST_F(SchedulerTest, StatusShowsTheLoad) {
  CloseGate();
  Start({.max_running = 2});
  std::vector<std::shared_ptr<RecordingSink>> sinks = {Submitted(1, Long(5))};
  gate_.AwaitArrival();
  EXPECT_EQ(scheduler_->status().kv_blocks_total, kSmall.kv_blocks);
  EXPECT_FALSE(scheduler_->status().draining);
  for (RequestId id = 2; id <= 5; ++id) sinks.push_back(Submitted(id, Long(5)));
  EXPECT_EQ(scheduler_->status().waiting, 4);
  gate_.Open();
  for (const auto& sink : sinks) sink->AwaitDone();
  scheduler_->Drain(hours(1));
  const SchedulerStatus status = scheduler_->status();
  EXPECT_EQ(status.running, 0);
  EXPECT_EQ(status.waiting, 0);
  EXPECT_EQ(status.kv_blocks_free, kSmall.kv_blocks);
  EXPECT_TRUE(status.draining);
}

// Several threads send and cancel at once; what ends well is what it would be alone.
TEST_F(SchedulerTest, ManyThreads) {
  Start({.max_running = 5, .max_waiting = 1000, .prefill_chunk = 7});
  constexpr int kThreads = 4, kEach = 40;
  std::vector<RequestSpec> specs(kThreads * kEach);
  std::vector<std::shared_ptr<RecordingSink>> sinks(specs.size());
  std::mt19937_64 rng(9);
  for (RequestSpec& spec : specs) {
    spec = RandomSpec(rng);
    spec.n = std::min(spec.n, 2);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t * kEach; i < (t + 1) * kEach; ++i) {
        sinks[i] = std::make_shared<RecordingSink>();
        EXPECT_EQ(Submit(i + 1, specs[i], sinks[i]), absl::StatusCode::kOk);
        if (i % 5 == 0) scheduler_->Cancel(i + 1 - i % 3, Cancelled("client"));
        if (i % 7 == 0) sinks[i]->AwaitDone();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < specs.size(); ++i)
    ExpectSameAsAlone(sinks[i]->AwaitDone(), RunAlone(world_, specs[i]));
  scheduler_.reset();
  EXPECT_TRUE(world_.AllBack());
}

}  // namespace
}  // namespace hydrad
