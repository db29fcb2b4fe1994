#include "server/adapters/loader.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "server/base/log.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

// Of this thread alone, which is Linux's way and not POSIX's.
void StandBack(int nice) {
  if (nice == 0) return;
  if (setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), nice) != 0) {
    Log()->warn("loader threads run at the priority of the others: nice {} was refused", nice);
  }
}

}  // namespace

Loader::Loader(int threads, size_t queue, int nice) : queue_(queue) {
  HYDRAD_CHECK(threads >= 1);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this, nice] { Run(nice); });
}

Loader::~Loader() { Stop(); }

bool Loader::Push(Job job, size_t most) {
  MutexLock lock(&mu_);
  if (stopped_ || jobs_.size() >= most) return false;
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

void Loader::Run(int nice) {
  StandBack(nice);
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
