#include "server/where_is.h"

#include <dirent.h>
#include <execinfo.h>
#include <fmt/core.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "server/base/mutex.h"

namespace hydrad {
namespace {

// What passes between the one who asks and the handler.
struct Question {
  std::atomic<pid_t> thread = 0;  // who is asked; it takes this to 0 when it begins to answer
  std::array<void*, 48> frames{};
  int count = 0;
  sem_t answered;
};
Question question;

int SignalNumber() { return SIGRTMIN + 2; }

void AnswerQuestion(int) {
  const int saved = errno;
  pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  if (question.thread.compare_exchange_strong(self, 0)) {
    question.count = backtrace(question.frames.data(), static_cast<int>(question.frames.size()));
    sem_post(&question.answered);
  }
  errno = saved;
}

void InstallHandler() {
  sem_init(&question.answered, 0, 0);
  std::array<void*, 1> unused;
  backtrace(unused.data(), 1);  // the first call loads a library, which a handler may not
  struct sigaction action {};
  action.sa_handler = AnswerQuestion;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SignalNumber(), &action, nullptr);
}

// The first line of a file under /proc.
std::string FirstLine(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// The directory of a thread; empty if there is none of that name.
std::filesystem::path Find(const std::string& thread) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
    if (FirstLine(entry.path() / "comm") == thread.substr(0, 15)) return entry.path();
  }
  return {};
}

// Whether the thread has answered.
bool Ask(pid_t thread, Duration limit) {
  question.thread = thread;
  if (syscall(SYS_tgkill, getpid(), thread, SignalNumber()) != 0) {
    question.thread = 0;
    return false;
  }
  timespec until{};
  clock_gettime(CLOCK_REALTIME, &until);
  const int64_t nanoseconds = until.tv_nsec + limit.count();
  until.tv_sec += nanoseconds / 1'000'000'000;
  until.tv_nsec = nanoseconds % 1'000'000'000;
  while (sem_timedwait(&question.answered, &until) != 0) {
    if (errno == EINTR) continue;
    if (question.thread.compare_exchange_strong(thread, 0)) return false;
    sem_wait(&question.answered);  // it is answering just now
    return true;
  }
  return true;
}

std::string Frames() {
  char** const symbols = backtrace_symbols(question.frames.data(), question.count);
  if (symbols == nullptr) return "no memory for a backtrace";
  std::string out;
  for (int i = 0; i < question.count; ++i) out += (out.empty() ? "" : " < ") + std::string(symbols[i]);
  std::free(symbols);
  return out;
}

// "(comm) S ..." of the thread's stat, and the function that it waits in.
std::string KernelsView(const std::filesystem::path& directory) {
  const std::string stat = FirstLine(directory / "stat");
  const size_t end = stat.rfind(')');
  const std::string state =
      end == std::string::npos || end + 2 >= stat.size() ? "?" : stat.substr(end + 2, 1);
  return fmt::format("no answer; the kernel says: state {}, in {}", state, FirstLine(directory / "wchan"));
}

}  // namespace

std::string WhereIs(const std::string& thread, Duration limit) {
  static Mutex mu;
  MutexLock lock(&mu);
  static const bool installed = (InstallHandler(), true);
  (void)installed;
  const std::filesystem::path directory = Find(thread);
  if (directory.empty()) return fmt::format("no thread '{}'", thread);
  const pid_t id = static_cast<pid_t>(std::atoi(directory.filename().c_str()));
  return Ask(id, limit) ? Frames() : KernelsView(directory);
}

}  // namespace hydrad
