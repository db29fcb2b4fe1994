#include "server/signals.h"

#include <pthread.h>

#include <cstdlib>

#include "server/base/log.h"

namespace hydrad {

Signals::Signals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  std::signal(SIGPIPE, SIG_IGN);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  thread_ = std::thread([this] { Run(); });
}

Signals::~Signals() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGTERM);  // wakes sigwait
  thread_.join();
}

void Signals::Arm() {
  MutexLock lock(&mu_);
  armed_ = true;
}

int Signals::AwaitFirst() {
  MutexLock lock(&mu_);
  mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return first_ != 0; });
  return first_;
}

void Signals::Linger(Duration limit) {
  MutexLock lock(&mu_);
  mu_.AwaitFor(limit, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
}

void Signals::Run() {
  for (;;) {
    int number = 0;
    sigwait(&set_, &number);
    MutexLock lock(&mu_);
    if (stopping_) return;
    if (first_ != 0 || !armed_) {
      Log()->warn("{} signal: ending at once", armed_ ? "second" : "early");
      std::_Exit(128 + number);
    }
    first_ = number;
  }
}

}  // namespace hydrad
