#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "server/base/check.h"
#include "server/base/inbox.h"
#include "server/base/mutex.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/base/thread_name.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/fit_to_model.h"
#include "server/scheduler/queue_limit.h"

namespace hydrad {
namespace {

constexpr Duration kIdleWait = std::chrono::seconds(1);

struct Submission {
  Request request;
  QueueLimit::Place place;
};
struct Cancellation {
  RequestId id;
  absl::Status status;
};
struct AdapterChange {};
struct DrainOrder {
  TimePoint until;
};
using Message = std::variant<Submission, Cancellation, AdapterChange, DrainOrder>;

absl::Status Draining() { return Unavailable("the server is shutting down"); }

}  // namespace

struct Scheduler::Impl {
  Impl(const SchedulerOptions& options, Model& model, const Tokenizer& tokenizer, const Clock& clock_in,
       Metrics& metrics)
      : vocab_size(model.config().vocab_size),
        limits(model.limits()),
        clock(clock_in),
        step_done(options.step_done),
        queue(options.max_waiting),
        self_tests(INT_MAX),
        engine(options, model, tokenizer, clock_in, metrics),
        kv_free(limits.kv_blocks),
        heartbeat(clock_in.Now()) {}

  void Loop();
  bool RunOnce(Duration wait);
  void Handle(Message message);
  void Stop();
  void Heartbeat();
  Duration IdleWait() const;

  // Constant after construction.
  const int vocab_size;
  const ModelLimits limits;
  const Clock& clock;
  const std::function<void()> step_done;  // may be null

  // Thread-safe themselves.
  QueueLimit queue, self_tests;
  Inbox<Message> inbox{SIZE_MAX};  // submissions are bounded by the queue, cancels by the requests

  // The scheduler thread's.
  Engine engine;
  std::optional<TimePoint> drain_until;

  // Written by the scheduler thread (draining: by anybody), read by all.
  std::atomic<int> running = 0, kv_free;
  std::atomic<TimePoint> heartbeat;
  std::atomic<bool> draining = false;
  std::atomic<bool> change_told = false;  // and not read yet

  Mutex mu;
  bool stopped ABSL_GUARDED_BY(mu) = false;

  std::thread thread;
};

void Scheduler::Impl::Loop() {
  NameThisThread("scheduler");
  bool worked = false;
  while (!drain_until || (!engine.empty() && clock.Now() < *drain_until)) {
    worked = RunOnce(worked ? Duration::zero() : IdleWait());
  }
  Stop();
}

// The wait ends with the next deadline: a request may wait for its adapter while nothing runs.
Duration Scheduler::Impl::IdleWait() const {
  const std::optional<TimePoint> deadline = engine.next_deadline();
  if (!deadline) return kIdleWait;
  return std::clamp(Duration(*deadline - clock.Now()), Duration::zero(), kIdleWait);
}

// Takes messages, waiting for them if there is nothing to do, runs a step and publishes what has changed.
bool Scheduler::Impl::RunOnce(Duration wait) {
  std::vector<Message> messages = inbox.ReceiveAll(wait);
  const bool told = !messages.empty();
  for (Message& message : messages) Handle(std::move(message));
  engine.Expire();
  if (step_done) step_done();  // before the step, which takes its time
  const bool stepped = engine.Step();
  if (step_done) step_done();
  Heartbeat();
  return told || stepped;
}

void Scheduler::Impl::Handle(Message message) {
  if (auto* submission = std::get_if<Submission>(&message)) {
    engine.Add(std::move(submission->request), std::move(submission->place));
    engine.EndAborted();  // the change may have been told before the request came
  } else if (auto* cancellation = std::get_if<Cancellation>(&message)) {
    engine.End(cancellation->id, cancellation->status);
  } else if (std::holds_alternative<AdapterChange>(message)) {
    change_told = false;  // first: what changes from here on is told again
    engine.EndAborted();
  } else {
    const TimePoint until = std::get<DrainOrder>(message).until;
    drain_until = drain_until ? std::min(*drain_until, until) : until;
  }
}

// A request that came too late is refused like the rest, so that every sink hears of its end.
void Scheduler::Impl::Stop() {
  inbox.Close();
  for (Message& message : inbox.ReceiveAll(Duration::zero())) Handle(std::move(message));
  engine.EndAll(Draining());
  if (step_done) step_done();
  Heartbeat();
  MutexLock lock(&mu);
  stopped = true;
}

void Scheduler::Impl::Heartbeat() {
  engine.Publish(queue.taken());
  running.store(engine.running(), std::memory_order_relaxed);
  kv_free.store(engine.free_blocks(), std::memory_order_relaxed);
  heartbeat.store(clock.Now(), std::memory_order_relaxed);
}

Scheduler::Scheduler(const SchedulerOptions& options, Model& model, const Tokenizer& tokenizer,
                     const Clock& clock, Metrics& metrics)
    : impl_(std::make_unique<Impl>(options, model, tokenizer, clock, metrics)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->Loop(); });
}

Scheduler::~Scheduler() {
  Drain(Duration::zero());
  impl_->thread.join();
}

absl::Status Scheduler::Submit(Request request) {
  HYDRAD_CHECK(request.sink != nullptr);
  if (impl_->draining) return Draining();
  RETURN_IF_ERROR(FitToModel(impl_->vocab_size, impl_->limits, &request));
  std::optional<QueueLimit::Place> place = (request.self_test ? impl_->self_tests : impl_->queue).Take();
  if (!place) return ResourceExhausted("{} requests are already waiting", impl_->queue.taken());
  const auto sent = impl_->inbox.SendAlways(Submission{std::move(request), *std::move(place)});
  return sent == Inbox<Message>::Sent::kOk ? absl::OkStatus() : Draining();
}

void Scheduler::Cancel(RequestId id, absl::Status status) {
  impl_->inbox.SendAlways(Cancellation{id, std::move(status)});
}

void Scheduler::Wake() {
  if (!impl_->change_told.exchange(true)) impl_->inbox.SendAlways(AdapterChange{});
}

void Scheduler::Drain(Duration limit) {
  impl_->draining = true;
  constexpr Duration kYear = std::chrono::hours(24 * 365);  // keeps the sum from overflowing
  impl_->inbox.SendAlways(DrainOrder{impl_->clock.Now() + std::min(limit, kYear)});
  MutexLock lock(&impl_->mu);
  impl_->mu.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return impl_->stopped; });
}

SchedulerStatus Scheduler::status() const {
  SchedulerStatus status;
  status.running = impl_->running.load(std::memory_order_relaxed);
  status.waiting = impl_->queue.taken();
  status.kv_blocks_total = impl_->limits.kv_blocks;
  status.kv_blocks_free = impl_->kv_free.load(std::memory_order_relaxed);
  const TimePoint beat =
      impl_->heartbeat.load(std::memory_order_relaxed);  // first, so that it is not after now
  status.since_heartbeat = impl_->clock.Now() - beat;
  status.draining = impl_->draining;
  return status;
}

}  // namespace hydrad
