#include "server/signals.h"

#include <pthread.h>

#include <cstdlib>

#include "server/base/log.h"
#include "server/base/thread_name.h"

namespace hydrad {
namespace {

// Signals whose default would end the process without a drain.
void IgnoreTheRest() {
  for (const int number :
       {SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, SIGXCPU, SIGXFSZ}) {
    std::signal(number, SIG_IGN);
  }
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) std::signal(number, SIG_IGN);
}

}  // namespace

Signals::Signals() {
  sigemptyset(&set_);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&set_, number);
  IgnoreTheRest();
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

void Signals::End() {
  MutexLock lock(&mu_);
  if (end_ == 0) end_ = kOwnEnd;
}

int Signals::AwaitNext() {
  MutexLock lock(&mu_);
  mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return end_ != 0 || (reload_ && armed_); });
  if (end_ != 0) return end_;
  reload_ = false;
  return SIGHUP;
}

void Signals::Linger(Duration limit) {
  MutexLock lock(&mu_);
  mu_.AwaitFor(limit, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
}

void Signals::Run() {
  NameThisThread("signals");
  for (;;) {
    int number = 0;
    sigwait(&set_, &number);
    MutexLock lock(&mu_);
    if (stopping_) return;
    if (number == SIGHUP) {
      reload_ = true;
      continue;
    }
    if (end_ != 0 || !armed_) {
      Log()->warn("{} signal: ending at once", armed_ ? "second" : "early");
      std::_Exit(128 + number);
    }
    end_ = number;
  }
}

}  // namespace hydrad
