#include "server/text/grammar_worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "server/base/file_descriptor.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/text/grammar.h"
#include "server/text/grammar_messages.h"

namespace hydrad {
namespace {

// Processor time that the process has used, in seconds.
double ProcessorTime() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Ends the process when it uses more processor time than this, until it goes out of scope.
class TimeLimit {
 public:
  explicit TimeLimit(double seconds) { Set(seconds); }
  ~TimeLimit() { Set(0); }

 private:
  static void Set(double seconds) {
    itimerval timer{};
    timer.it_value.tv_sec = static_cast<time_t>(seconds);
    timer.it_value.tv_usec =
        static_cast<suseconds_t>((seconds - static_cast<double>(timer.it_value.tv_sec)) * 1e6);
    setitimer(ITIMER_PROF, &timer, nullptr);  // SIGPROF, which nobody handles, ends the process
  }
};

std::string ReadAll(int descriptor) {
  std::string bytes;
  std::vector<char> buffer(1 << 16);
  ssize_t got;
  while ((got = read(descriptor, buffer.data(), buffer.size())) > 0)
    bytes.append(buffer.data(), static_cast<size_t>(got));
  return bytes;
}

// Of the process, in bytes: its address space, and its data.
struct Memory {
  size_t space, data;
};
Memory MemoryInUse() {
  size_t pages = 0, other = 0, data = 0;
  std::ifstream("/proc/self/statm") >> pages >> other >> other >> other >> other >> data;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return {pages * page, data * page};
}

void LimitMemory(size_t more) {
  const rlim_t limit = MemoryInUse().space + more;
  const rlimit bytes{limit, limit}, none{0, 0};
  setrlimit(RLIMIT_AS, &bytes);
  setrlimit(RLIMIT_CORE, &none);
}

// The process of one form.
class FormProcess {
 public:
  FormProcess(const GrammarCompiler& compiler, FileDescriptor socket, const GrammarLimits& limits)
      : compiler_(compiler),
        socket_(std::move(socket)),
        limits_(limits),
        mask_((static_cast<size_t>(compiler.vocabulary().size()) + 31) / 32) {}

  void Run(const AnswerForm& form) {
    if (!SendPacket(socket_.get(), EncodeReply(absl::OkStatus())).ok()) return;  // it is there
    LimitMemory(limits_.memory_bytes);
    const size_t before = MemoryInUse().data;
    const absl::Status status = Compile(form);
    const std::string bytes = std::to_string(std::max(before, MemoryInUse().data) - before);
    if (!SendPacket(socket_.get(), EncodeReply(status, bytes)).ok()) return;
    std::vector<pollfd> sockets;
    while (compiled_.is_object() && (socket_.get() >= 0 || !answers_.empty())) {
      sockets = {{.fd = socket_.get(), .events = POLLIN, .revents = 0}};
      for (const Answer& answer : answers_)
        sockets.push_back({.fd = answer.socket.get(), .events = POLLIN, .revents = 0});
      if (poll(sockets.data(), sockets.size(), -1) < 0 && errno != EINTR) return;
      for (size_t i = answers_.size(); i > 0; --i) {  // backwards, for what is erased
        if (sockets[i].revents != 0 && !GoOn(answers_[i - 1])) answers_.erase(answers_.begin() + (i - 1));
      }
      if (sockets[0].revents != 0) Begin();
    }
  }

 private:
  struct Answer {
    FileDescriptor socket;
    GrammarMatcher matcher;
    double seconds = 0;  // of processor time that its masks have taken
  };

  absl::Status Compile(const AnswerForm& form) {
    const TimeLimit time(limits_.compile_seconds);
    json_ = form.kind == AnswerForm::Kind::kJsonObject || form.kind == AnswerForm::Kind::kJsonSchema;
    ASSIGN_OR_RETURN(compiled_, compiler_.Compile(form));
    return absl::OkStatus();
  }
  void Begin() {
    FileDescriptor socket;
    if (!ReceivePacket(socket_.get(), &socket)) return socket_.Reset();
    const TimeLimit time(limits_.mask_seconds);
    absl::StatusOr<GrammarMatcher> matcher = compiler_.Start(compiled_);
    if (!matcher.ok()) {
      static_cast<void>(SendPacket(socket.get(), EncodeReply(matcher.status())));
      return;
    }
    answers_.push_back({std::move(socket), *std::move(matcher)});
    if (!SendMask(answers_.back(), absl::OkStatus())) answers_.pop_back();
  }
  // False when the answer has ended.
  bool GoOn(Answer& answer) {
    const std::optional<std::string> token = ReceivePacket(answer.socket.get());
    int32_t id;
    if (!token || token->size() != sizeof id) return false;
    token->copy(reinterpret_cast<char*>(&id), sizeof id);
    const TimeLimit time(limits_.mask_seconds);
    const double begun = ProcessorTime();
    absl::Status status = answer.matcher.Accept(id);
    answer.seconds += ProcessorTime() - begun;
    return SendMask(answer, std::move(status));
  }
  bool SendMask(Answer& answer, absl::Status status) {
    const double begun = ProcessorTime();
    if (status.ok()) status = answer.matcher.FillMask(mask_, json_);
    answer.seconds += ProcessorTime() - begun;
    if (status.ok() && answer.seconds >= limits_.answer_seconds)
      status = ResourceExhausted("it takes more time than is given for an answer");
    const std::string_view words(reinterpret_cast<const char*>(mask_.data()), mask_.size() * sizeof mask_[0]);
    return SendPacket(answer.socket.get(), EncodeReply(status, words)).ok() && status.ok();
  }

  const GrammarCompiler& compiler_;
  FileDescriptor socket_;
  const GrammarLimits limits_;
  FfiValue compiled_;
  bool json_ = false;
  std::vector<Answer> answers_;
  std::vector<uint32_t> mask_;
};

absl::StatusOr<std::unique_ptr<GrammarCompiler>> Prepare(const char* directory, int vocabulary) {
  ASSIGN_OR_RETURN(Vocabulary tokens, DecodeVocabulary(ReadAll(vocabulary)));
  return GrammarCompiler::Open(directory, std::move(tokens));
}

// Signals that are meant for the daemon reach its processes too; they end when it does. What it blocks and
// ignores is inherited, and the limits of time are a signal.
void LeaveSignalsToTheDaemon() {
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) signal(signal_number, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);  // a child that ends leaves nothing
  signal(SIGPROF, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// What the library writes would be in the daemon's log, as often as a form makes it.
void SilenceOutput() {
  const FileDescriptor nowhere(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int standard : {0, 1, 2}) dup2(nowhere.get(), standard);
}

}  // namespace

int RunGrammarProcess(const char* directory, int socket, int vocabulary, const GrammarLimits& limits) {
  LeaveSignalsToTheDaemon();
  const auto compiler = Prepare(directory, vocabulary);
  close(vocabulary);
  if (!SendPacket(socket, EncodeReply(compiler.status())).ok() || !compiler.ok()) return EXIT_FAILURE;
  SilenceOutput();
  FileDescriptor form_socket;
  while (const std::optional<std::string> packet = ReceivePacket(socket, &form_socket)) {
    if (const pid_t child = fork(); child == 0) {
      close(socket);
      setpriority(PRIO_PROCESS, 0, 5);
      const absl::StatusOr<AnswerForm> form = DecodeForm(*packet);
      if (form.ok()) FormProcess(**compiler, std::move(form_socket), limits).Run(*form);
      _exit(EXIT_SUCCESS);
    }
    form_socket.Reset();  // the child's; where there is none, the other side hears that it is gone
  }
  return EXIT_SUCCESS;
}

}  // namespace hydrad
