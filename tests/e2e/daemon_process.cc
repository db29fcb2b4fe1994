#include "tests/e2e/daemon_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string_view>
#include <utility>

#include "server/base/check.h"

extern char** environ;

namespace hydrad {
namespace {

struct Pipe {
  Pipe() { HYDRAD_CHECK(pipe2(ends, O_CLOEXEC) == 0); }
  int ends[2];
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// The test's own variables, but for those that `variables` sets. HTTP is served on any free port where a test
// says nothing else, because daemons run beside each other.
std::vector<std::string> Environment(std::vector<std::string> variables) {
  constexpr std::string_view kHttp = "HYDRAD_HTTP_LISTEN=";
  if (std::none_of(variables.begin(), variables.end(),
                   [&](const std::string& v) { return v.starts_with(kHttp); })) {
    variables.push_back(std::string(kHttp) + "127.0.0.1:0");
  }
  const size_t set = variables.size();
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view own(*entry);
    const std::string_view name = own.substr(0, own.find('=') + 1);
    const bool is_set = std::any_of(variables.begin(), variables.begin() + static_cast<ptrdiff_t>(set),
                                    [&](const std::string& v) { return v.starts_with(name); });
    if (!is_set) variables.emplace_back(own);
  }
  return variables;
}

// Appends what can be read; false at the end.
bool ReadSome(int fd, std::string* out) {
  char buffer[4096];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) < 0 && errno == EINTR) continue;
  if (n > 0) out->append(buffer, static_cast<size_t>(n));
  return n > 0;
}

}  // namespace

DaemonProcess::DaemonProcess(const std::vector<std::string>& arguments,
                             const std::vector<std::string>& variables,
                             const std::vector<std::string>& wrapper) {
  std::vector<std::string> argv = wrapper;
  argv.push_back(HYDRAD_BINARY);
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const std::vector<std::string> env = Environment(variables);
  const Pipe out, err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], STDERR_FILENO);
  HYDRAD_CHECK(posix_spawn(&pid_, argv[0].c_str(), &actions, nullptr, Pointers(argv).data(),
                           Pointers(env).data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(out.ends[1]);
  close(err.ends[1]);
  output_fd_ = out.ends[0];
  log_fd_ = err.ends[0];
}

DaemonProcess::~DaemonProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(log_fd_);
  close(output_fd_);
}

std::string DaemonProcess::AwaitLine(const std::string& text) {
  for (;;) {
    for (size_t end; (end = log_.find('\n', looked_at_)) != std::string::npos;) {
      const std::string line = log_.substr(looked_at_, end - looked_at_);
      looked_at_ = end + 1;
      if (line.find(text) != std::string::npos) return line;
    }
    if (!ReadSome(log_fd_, &log_)) return "";
  }
}

std::string DaemonProcess::Address(const std::string& what) {
  if (ready_.empty()) ready_ = AwaitLine("ready: ");
  const size_t at = ready_.find(" " + what + " ");
  if (at == std::string::npos) return "";
  const size_t begin = at + what.size() + 2;
  return ready_.substr(begin, ready_.find(' ', begin) - begin);
}

void DaemonProcess::Signal(int number) { kill(pid_, number); }

int DaemonProcess::Wait() {
  while (ReadSome(log_fd_, &log_)) continue;
  while (ReadSome(output_fd_, &output_)) continue;
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace hydrad
