#include "server/adapters/store/executor.h"

#include <utility>

#include "server/base/background.h"
#include "server/base/check.h"
#include "server/base/log.h"

namespace hydrad {

ThreadExecutor::ThreadExecutor(int threads, size_t queue, bool in_background) : queue_(queue) {
  HYDRAD_CHECK(threads >= 1);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this, in_background] { Run(in_background); });
}

ThreadExecutor::~ThreadExecutor() { Stop(); }

bool ThreadExecutor::Push(Job job, size_t most) {
  MutexLock lock(&mu_);
  if (stopped_ || jobs_.size() >= most) return false;
  jobs_.push_back(std::move(job));
  return true;
}

void ThreadExecutor::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ThreadExecutor::Run(bool in_background) {
  if (in_background && !RunInBackground()) {
    Log()->warn("loader threads run at the priority of the others: SCHED_IDLE was refused");
  }
  while (true) {
    Job job;
    {
      MutexLock lock(&mu_);
      mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopped_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    std::move(job)();
  }
}

}  // namespace hydrad
