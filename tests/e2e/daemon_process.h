// The real binary as a child process.
#ifndef HYDRAD_TESTS_E2E_DAEMON_PROCESS_H_
#define HYDRAD_TESTS_E2E_DAEMON_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace hydrad {

// One run of the daemon. Its stderr is read as the test asks for it, its stdout when it has ended. Killed by
// destruction if it still runs.
class DaemonProcess {
 public:
  // Starts build/bin/hydrad with these arguments and the variables NAME=VALUE, beside or instead of the
  // test's own. `wrapper`: a command that the daemon's own is appended to, which must become it (exec).
  explicit DaemonProcess(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& variables = {},
                         const std::vector<std::string>& wrapper = {});
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // Reads the log up to the line that holds `text`, and returns that line; "" if the process ends without
  // one.
  std::string AwaitLine(const std::string& text);
  // The address after `what` ("inference", "admin", "metrics") in the ready line, which is waited for.
  std::string Address(const std::string& what);

  pid_t pid() const { return pid_; }
  void Signal(int number);
  // Waits for the end and returns the exit code; 1000 + number if a signal ended it.
  int Wait();

  const std::string& log() const { return log_; }        // what has been read of stderr
  const std::string& output() const { return output_; }  // stdout, after Wait

 private:
  pid_t pid_ = -1;
  int log_fd_ = -1, output_fd_ = -1;
  std::string log_, output_, ready_;
  size_t looked_at_ = 0;  // bytes of log_ that AwaitLine has passed
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_DAEMON_PROCESS_H_
