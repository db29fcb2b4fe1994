#include "server/crash_report.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>

#include "server/base/stderr_text.h"
#include "server/base/thread_name.h"

namespace hydrad {
namespace {

constexpr unsigned kPatience = 10;  // seconds for a report
std::atomic<bool> reporting = false;

void PutBacktrace() {
  std::array<void*, 64> frames;
  const int count = backtrace(frames.data(), static_cast<int>(frames.size()));
  backtrace_symbols_fd(frames.data(), count, STDERR_FILENO);
}

void PutLine(int number, const siginfo_t& info) {
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  const char* abbreviation = sigabbrev_np(number);
  PutToStderr("hydrad " HYDRAD_VERSION ": crash: signal ");
  PutToStderr(Digits(static_cast<uint64_t>(number)).text());
  PutToStderr(" (SIG");
  PutToStderr(abbreviation != nullptr ? abbreviation : "?");
  PutToStderr(") in thread '");
  PutToStderr(name);
  if (info.si_code > 0) {  // the kernel's doing: there is an address
    PutToStderr("' at address 0x");
    PutToStderr(Digits(reinterpret_cast<uintptr_t>(info.si_addr), 16).text());
  } else {
    PutToStderr("' sent by process ");
    PutToStderr(Digits(static_cast<uint64_t>(info.si_pid)).text());
  }
  PutToStderr("; where (addr2line -Cfipe BINARY +0x...):\n");
}

// Another crash while this runs, in this thread, ends the process: the kernel sees to that. In another thread
// it waits for the end.
void Report(int number, siginfo_t* info, void*) {
  if (reporting.exchange(true)) {
    for (;;) pause();
  }
  // A report that gets stuck must not keep the process from dying.
  signal(SIGALRM, SIG_DFL);
  sigset_t alarm_only;
  sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &alarm_only, nullptr);
  alarm(kPatience);
  PutLine(number, *info);
  PutBacktrace();
  signal(number, SIG_DFL);
  raise(number);  // comes when this returns
}

}  // namespace

void InstallCrashReport() {
  NameThisThread("hydrad");
  std::array<void*, 1> unused;
  backtrace(unused.data(), 1);  // the first call loads a library, which a handler may not
  struct sigaction action {};
  action.sa_sigaction = Report;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
    sigaction(number, &action, nullptr);
  }
}

}  // namespace hydrad
