#include "server/adapters/loader.h"

#include <utility>

#include "server/base/status.h"

namespace hydrad {

Loader::Loader(int threads, size_t queue) : queue_(queue) {
  HYDRAD_CHECK(threads >= 1);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

Loader::~Loader() { Stop(); }

bool Loader::Submit(Job job) {
  MutexLock lock(&mu_);
  if (stopped_ || jobs_.size() >= queue_) return false;
  jobs_.push_back(std::move(job));
  return true;
}

void Loader::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Loader::Run() {
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
