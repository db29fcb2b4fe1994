// A mutex whose use the compiler checks (clang -Wthread-safety), with waiting on a condition.
//
// It is used as absl::Mutex is, but is made of std::mutex, which ThreadSanitizer understands: distributions
// ship Abseil without the sanitizer's annotations, so that each of its locks would look like none.
#ifndef HYDRAD_SERVER_BASE_MUTEX_H_
#define HYDRAD_SERVER_BASE_MUTEX_H_

#include <absl/base/thread_annotations.h>

#include <condition_variable>
#include <functional>
#include <mutex>

#include "server/base/clock.h"

namespace hydrad {

// A mutex that is not recursive.
class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    WakeWaiters();  // before unlocking: whoever waits may destroy the mutex as soon as it has it
    mu_.unlock();
  }

  // Gives the lock up until `condition`, which is evaluated under the lock, holds. It is looked at again
  // whenever somebody unlocks the mutex, so nobody needs to signal.
  template <class Condition>
  void Await(Condition condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    std::unique_lock<std::mutex> lock(mu_, std::adopt_lock);
    WakeWaiters();
    ++waiters_;
    changed_.wait(lock, condition);
    --waiters_;
    lock.release();
  }
  // Waits as Await does, for at most `limit`. Returns whether the condition holds then.
  template <class Condition>
  bool AwaitFor(Duration limit, Condition condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    std::unique_lock<std::mutex> lock(mu_, std::adopt_lock);
    WakeWaiters();
    ++waiters_;
    const bool held = changed_.wait_for(lock, limit, condition);
    --waiters_;
    lock.release();
    return held;
  }

 private:
  // Waiting gives the lock up too: others may wait for what was changed before. They go on when it is given
  // up.
  void WakeWaiters() {
    if (waiters_ > 0) changed_.notify_all();
  }

  std::mutex mu_;
  std::condition_variable changed_;
  int waiters_ = 0;  // guarded by mu_
};

// Holds a mutex for a scope.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_MUTEX_H_
