// What a crash leaves behind.
#ifndef HYDRAD_SERVER_CRASH_REPORT_H_
#define HYDRAD_SERVER_CRASH_REPORT_H_

namespace hydrad {

// From now on a fatal signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, and SIGABRT, which is how a
// failed CHECK, a failed allocation and std::terminate end) writes a line and a backtrace to stderr before
// the process dies of it, as it would have without: with a core dump where those are on. Call once, early.
void InstallCrashReport();

}  // namespace hydrad

#endif  // HYDRAD_SERVER_CRASH_REPORT_H_
