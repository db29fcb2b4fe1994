// A scheduler that does nothing by itself: a test looks at what was submitted and plays the tokens.
#ifndef HYDRAD_TESTS_FRONT_FAKE_SCHEDULER_H_
#define HYDRAD_TESTS_FRONT_FAKE_SCHEDULER_H_

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "server/base/mutex.h"
#include "server/base/status.h"
#include "server/front/delivery.h"
#include "server/front/scheduler_calls.h"

namespace hydrad {

// What a test gives out is handed over before it goes on, as if each call were a step.
class StepSink final : public TokenSink {
 public:
  StepSink(std::shared_ptr<TokenSink> sink, Delivery& delivery)
      : sink_(std::move(sink)), delivery_(delivery) {}
  void OnStart(OutputStart start) override {
    sink_->OnStart(std::move(start));
    delivery_.Flush();
  }
  bool OnPiece(OutputPiece piece) override {
    const bool taken = sink_->OnPiece(std::move(piece));
    delivery_.Flush();
    return taken;
  }
  void OnDone(absl::Status status, const Usage& usage) override {
    sink_->OnDone(std::move(status), usage);
    delivery_.Flush();
  }

 private:
  const std::shared_ptr<TokenSink> sink_;
  Delivery& delivery_;
};

// Thread-safe. Submitted requests are kept until they are taken; those that are not are ended by EndAll, as a
// scheduler that drains would.
class FakeScheduler {
 public:
  // `delivery` hands over what the requests are given, and must outlive this.
  explicit FakeScheduler(Delivery& delivery) : delivery_(delivery) {}
  ~FakeScheduler() { EndAll(); }

  void EndAll() {
    std::deque<Request> requests;
    {
      MutexLock lock(&mu_);
      requests.swap(requests_);
    }
    for (Request& request : requests) request.sink->OnDone(Unavailable("the test is over"), {});
  }

  SchedulerCalls calls() {
    return {.submit = [this](Request request) { return Submit(std::move(request)); },
            .cancel =
                [this](RequestId id, absl::Status why) {
                  MutexLock lock(&mu_);
                  cancelled_.emplace_back(id, std::move(why));
                },
            .status =
                [this] {
                  MutexLock lock(&mu_);
                  return status_;
                }};
  }

  // The next Submits answer this.
  void Answer(absl::Status status) {
    MutexLock lock(&mu_);
    answer_ = std::move(status);
  }
  void SetStatus(SchedulerStatus status) {
    MutexLock lock(&mu_);
    status_ = status;
  }
  // Waits for the next request, and takes it.
  Request Take() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !requests_.empty(); });
    Request request = std::move(requests_.front());
    requests_.pop_front();
    return request;
  }
  // Waits for the next cancel, and takes it.
  std::pair<RequestId, absl::Status> TakeCancel() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !cancelled_.empty(); });
    std::pair<RequestId, absl::Status> cancel = std::move(cancelled_.front());
    cancelled_.pop_front();
    return cancel;
  }
  // Whether there is one.
  bool has_cancel() const {
    MutexLock lock(&mu_);
    return !cancelled_.empty();
  }
  size_t submitted() const {
    MutexLock lock(&mu_);
    return submitted_;
  }

 private:
  absl::Status Submit(Request request) {
    MutexLock lock(&mu_);
    if (!answer_.ok()) return answer_;
    ++submitted_;
    request.sink = std::make_shared<StepSink>(std::move(request.sink), delivery_);
    requests_.push_back(std::move(request));
    return absl::OkStatus();
  }

  Delivery& delivery_;
  mutable Mutex mu_;
  absl::Status answer_ ABSL_GUARDED_BY(mu_);
  SchedulerStatus status_ ABSL_GUARDED_BY(mu_);
  std::deque<Request> requests_ ABSL_GUARDED_BY(mu_);
  std::deque<std::pair<RequestId, absl::Status>> cancelled_ ABSL_GUARDED_BY(mu_);
  size_t submitted_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FRONT_FAKE_SCHEDULER_H_
