#include "client/hydractl/interrupts.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "server/base/check.h"

namespace hydrad {
namespace {

// Where the handler writes to. A signal handler has no other way to be told.
std::atomic<int> g_writer = -1;

void OnSignal(int) {
  const int saved = errno;
  const char byte = 1;
  [[maybe_unused]] const ssize_t written = write(g_writer, &byte, 1);  // a full pipe holds signals enough
  errno = saved;
}

}  // namespace

Interrupts::Interrupts(std::function<void()> otherwise) : otherwise_(std::move(otherwise)) {
  HYDRAD_CHECK(pipe2(pipe_, O_CLOEXEC) == 0);
  int none = -1;
  HYDRAD_CHECK(g_writer.compare_exchange_strong(none, pipe_[1]));
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  HYDRAD_CHECK(sigaction(SIGINT, &action, &before_) == 0);
  thread_ = std::thread([this] { Run(); });
}

Interrupts::~Interrupts() {
  sigaction(SIGINT, &before_, nullptr);
  g_writer = -1;
  const char end = 0;
  HYDRAD_CHECK(write(pipe_[1], &end, 1) == 1);
  thread_.join();
  close(pipe_[0]);
  close(pipe_[1]);
}

void Interrupts::Set(std::function<void()> action) {
  MutexLock lock(&mu_);
  action_ = std::move(action);
}

void Interrupts::Run() {
  for (char byte = 0;;) {
    const ssize_t count = read(pipe_[0], &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count != 1 || byte == 0) return;
    MutexLock lock(&mu_);
    (action_ ? action_ : otherwise_)();
  }
}

}  // namespace hydrad
