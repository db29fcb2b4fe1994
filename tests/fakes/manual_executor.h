// An executor whose jobs a test runs, one by one, in an order of its choice.
#ifndef HYDRAD_TESTS_FAKES_MANUAL_EXECUTOR_H_
#define HYDRAD_TESTS_FAKES_MANUAL_EXECUTOR_H_

#include <memory>
#include <utility>
#include <vector>

#include "server/adapters/store/executor.h"

namespace hydrad {

// For one thread. Several executors may share one list of jobs.
class ManualExecutor final : public Executor {
 public:
  using Jobs = std::vector<Job>;

  explicit ManualExecutor(std::shared_ptr<Jobs> jobs) : jobs_(std::move(jobs)) {}
  bool Submit(Job job) override { return Post(std::move(job)); }
  bool Post(Job job) override {
    if (stopped_) return false;
    jobs_->push_back(std::move(job));
    return true;
  }
  void Stop() override {
    stopped_ = true;
    while (!jobs_->empty()) Run(*jobs_, 0);
  }

  // Takes job number `i` out and runs it, which may add others.
  static void Run(Jobs& jobs, size_t i) {
    Job job = std::move(jobs[i]);
    jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(i));
    std::move(job)();
  }

 private:
  const std::shared_ptr<Jobs> jobs_;
  bool stopped_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_MANUAL_EXECUTOR_H_
