#include "server/text/grammar_service.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <vector>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/text/grammar_messages.h"

extern char** environ;

namespace hydrad {
namespace {

using std::chrono::seconds;

// The program finds its sockets under these numbers.
constexpr int kSocketNumber = 3, kVocabularyNumber = 4;
// Beyond the limits of processor time: for a machine that has none to give.
constexpr auto kPatience = seconds(30);

absl::Status TooMuch() { return ResourceExhausted("it takes more time or memory than is given for a token"); }

struct SocketEnds {
  FileDescriptor mine, its;
};
absl::StatusOr<SocketEnds> SocketPair() {
  std::array<int, 2> sockets;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    return ResourceExhausted("no socket for structured output: {}", std::strerror(errno));
  }
  return SocketEnds{FileDescriptor(sockets[0]), FileDescriptor(sockets[1])};
}

// Whether there is something to be read, or the other side is gone, before `limit`.
bool Readable(int socket, TimePoint limit) {
  pollfd wanted{.fd = socket, .events = POLLIN, .revents = 0};
  while (true) {
    const auto left = std::max(Duration(0), limit - SteadyClock().Now());
    const timespec timeout{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    const int ready = ppoll(&wanted, 1, &timeout, nullptr);
    if (ready >= 0 || errno != EINTR) return ready != 0;
  }
}

std::string VocabularyOf(const Tokenizer& tokenizer, int vocab_size, std::span<const int32_t> end_tokens) {
  Vocabulary vocabulary;
  vocabulary.end_tokens.assign(end_tokens.begin(), end_tokens.end());
  for (int32_t id = 0; id < vocab_size; ++id)
    vocabulary.tokens.push_back(tokenizer.IsSpecial(id) ? "" : tokenizer.TokenBytes(id));
  return EncodeVocabulary(vocabulary);
}

// A file of nowhere that holds `bytes`, to be read from its beginning.
FileDescriptor FileOf(std::string_view bytes) {
  FileDescriptor file(memfd_create("vocabulary", MFD_CLOEXEC));
  while (file.get() >= 0 && !bytes.empty()) {
    const ssize_t written = write(file.get(), bytes.data(), bytes.size());
    if (written < 0) return {};
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

}  // namespace

// One answer, on a socket to the process of its form.
class GrammarService::Matcher final : public AnswerMatcher {
 public:
  Matcher(absl::StatusOr<FileDescriptor> socket, int vocab_size)
      : words_((static_cast<size_t>(vocab_size) + 31) / 32), buffer_(std::max(words_, kErrorWords)) {
    if (socket.ok()) {
      socket_ = *std::move(socket);
    } else {
      waits_ = false;
      failed_ = socket.status();
    }
  }

  bool Ready(TimePoint limit) override {
    if (waits_ && Readable(socket_.get(), limit)) Receive();
    return !waits_;
  }
  absl::StatusOr<std::span<const uint32_t>> Mask() const override {
    HYDRAD_CHECK(!waits_);
    RETURN_IF_ERROR(failed_);
    return std::span(buffer_).first(words_);
  }
  void Accept(int32_t token) override {
    HYDRAD_CHECK(!waits_ && failed_.ok());
    waits_ = true;
    static_cast<void>(SendPacket(socket_.get(), {reinterpret_cast<const char*>(&token), sizeof token}));
  }

 private:
  static constexpr size_t kErrorWords = 256;

  void Receive() {
    uint32_t code = 0;
    std::array<iovec, 2> parts{iovec{&code, sizeof code},
                               iovec{buffer_.data(), buffer_.size() * sizeof(uint32_t)}};
    const ssize_t got = readv(socket_.get(), parts.data(), parts.size());
    waits_ = false;
    const auto content = static_cast<size_t>(std::max<ssize_t>(got, sizeof code)) - sizeof code;
    if (got < static_cast<ssize_t>(sizeof code)) {
      failed_ = TooMuch();
    } else if (code != 0) {
      failed_ = absl::Status(static_cast<absl::StatusCode>(code),
                             {reinterpret_cast<const char*>(buffer_.data()), content});
    } else {
      HYDRAD_CHECK(content == words_ * sizeof(uint32_t));
    }
  }

  const size_t words_;
  FileDescriptor socket_;
  bool waits_ = true;
  absl::Status failed_;
  std::vector<uint32_t> buffer_;  // the mask, or the text of an error
};

// The process of a form, which ends with this and all of its answers.
class GrammarService::Form final : public AnswerGrammar {
 public:
  Form(FileDescriptor socket, std::shared_ptr<std::atomic<int>> processes, int vocab_size)
      : socket_(std::move(socket)), processes_(std::move(processes)), vocab_size_(vocab_size) {}
  ~Form() override { --*processes_; }

  // Waits until the process is there; false when it never will be.
  bool WaitBegun() {
    return Readable(socket_.get(), SteadyClock().Now() + kPatience) &&
           ReceivePacket(socket_.get()).has_value();
  }
  // Then: waits until the form is compiled.
  absl::Status WaitCompiled() {
    if (!Readable(socket_.get(), SteadyClock().Now() + kPatience)) return TooLong();
    const std::optional<std::string> reply = ReceivePacket(socket_.get());
    if (!reply) return TooLong();
    ASSIGN_OR_RETURN(const std::string bytes, DecodeReply(*reply));
    std::from_chars(bytes.data(), bytes.data() + bytes.size(), bytes_);
    return absl::OkStatus();
  }
  size_t bytes() const { return bytes_; }  // that its process has taken
  bool alive() const { return !Readable(socket_.get(), TimePoint{}); }

  std::unique_ptr<AnswerMatcher> Start(int) override {
    return std::make_unique<Matcher>(Connect(), vocab_size_);
  }

 private:
  static absl::Status TooLong() {
    return InvalidArgument("it takes more time or memory to compile than is given");
  }
  absl::StatusOr<FileDescriptor> Connect() const {
    ASSIGN_OR_RETURN(SocketEnds ends, SocketPair());
    if (!SendPacket(socket_.get(), "start", ends.its.get()).ok()) return TooMuch();  // of another answer
    return std::move(ends.mine);
  }

  const FileDescriptor socket_;
  const std::shared_ptr<std::atomic<int>> processes_;
  const int vocab_size_;
  size_t bytes_ = 0;
};

absl::StatusOr<std::unique_ptr<GrammarService>> GrammarService::Open(const GrammarOptions& options,
                                                                     const Tokenizer& tokenizer,
                                                                     int vocab_size,
                                                                     std::span<const int32_t> end_tokens) {
  if (end_tokens.empty()) return FailedPrecondition("the model names no end token, so no answer could end");
  std::error_code error;
  for (const std::string& path : {options.program, options.directory}) {
    if (!std::filesystem::exists(path, error)) return NotFound("there is no '{}'", path);
  }
  std::unique_ptr<GrammarService> service(
      new GrammarService(options, VocabularyOf(tokenizer, vocab_size, end_tokens), vocab_size));
  MutexLock lock(&service->mu_);
  RETURN_IF_ERROR(service->StartProcess());
  return service;
}

GrammarService::~GrammarService() {
  MutexLock lock(&mu_);
  EndProcess();
}

absl::Status GrammarService::StartProcess() {
  const FileDescriptor vocabulary = FileOf(vocabulary_);
  if (vocabulary.get() < 0) return ResourceExhausted("no room for the vocabulary: {}", std::strerror(errno));
  ASSIGN_OR_RETURN(SocketEnds ends, SocketPair());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // By way of numbers that neither of them has.
  const int high_socket = fcntl(ends.its.get(), F_DUPFD_CLOEXEC, 10);
  const int high_vocabulary = fcntl(vocabulary.get(), F_DUPFD_CLOEXEC, 10);
  posix_spawn_file_actions_adddup2(&actions, high_socket, kSocketNumber);
  posix_spawn_file_actions_adddup2(&actions, high_vocabulary, kVocabularyNumber);
  const GrammarLimits& limits = options_.limits;
  std::vector<std::string> words = {options_.program,
                                    options_.directory,
                                    std::to_string(limits.compile_seconds),
                                    std::to_string(limits.mask_seconds),
                                    std::to_string(limits.answer_seconds),
                                    std::to_string(limits.memory_bytes)};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t process = -1;
  const int failed =
      posix_spawn(&process, options_.program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(high_socket);
  close(high_vocabulary);
  if (failed != 0)
    return FailedPrecondition("'{}' does not start: {}", options_.program, std::strerror(failed));
  ends.its.Reset();
  process_ = process;
  socket_ = std::move(ends.mine);
  const std::optional<std::string> reply =
      Readable(socket_.get(), SteadyClock().Now() + kPatience) ? ReceivePacket(socket_.get()) : std::nullopt;
  absl::Status status =
      reply ? DecodeReply(*reply).status() : FailedPrecondition("'{}' does not answer", options_.program);
  if (!status.ok()) EndProcess();
  return status;
}

void GrammarService::EndProcess() {
  if (process_ < 0) return;
  socket_.Reset();
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
}

absl::StatusOr<pid_t> GrammarService::Send(std::string_view form, int socket) {
  MutexLock lock(&mu_);
  if (process_ >= 0 && SendPacket(socket_.get(), form, socket).ok()) return process_;
  EndProcess();  // somebody has ended it already
  RETURN_IF_ERROR(StartProcess());
  RETURN_IF_ERROR(SendPacket(socket_.get(), form, socket));
  return process_;
}

void GrammarService::LeaveProcess(pid_t process) {
  MutexLock lock(&mu_);
  if (process_ == process) EndProcess();
}

absl::StatusOr<std::shared_ptr<AnswerGrammar>> GrammarService::Compile(std::string_view tenant,
                                                                       const AnswerForm& form) {
  const Key key(tenant, form);
  std::shared_ptr<Form> compiled = Find(key);
  if (compiled == nullptr) {
    ASSIGN_OR_RETURN(compiled, CompileNow(form));
    Keep(key, compiled);
  }
  return compiled;
}

absl::StatusOr<std::shared_ptr<GrammarService::Form>> GrammarService::CompileNow(const AnswerForm& form) {
  const std::string packet = EncodeForm(form);
  if (packet.size() > kMaxPacket) return InvalidArgument("has more than {} bytes", kMaxFormBytes);
  for (int attempt = 0; attempt < 2; ++attempt) {  // again, where the main process ended with the form unread
    ASSIGN_OR_RETURN(SocketEnds ends, SocketPair());
    if (++*processes_ > options_.max_processes) {
      --*processes_;
      return ResourceExhausted("{} forms of structured output are in use: more are not taken",
                               options_.max_processes);
    }
    auto compiled = std::make_shared<Form>(std::move(ends.mine), processes_, vocab_size_);
    ASSIGN_OR_RETURN(const pid_t process, Send(packet, ends.its.get()));
    ends.its.Reset();
    if (!compiled->WaitBegun()) {
      LeaveProcess(process);
      continue;
    }
    RETURN_IF_ERROR(compiled->WaitCompiled());
    return compiled;
  }
  return Unavailable("the processes of structured output end as they begin");
}

std::shared_ptr<GrammarService::Form> GrammarService::Find(const Key& key) {
  MutexLock lock(&mu_);
  const auto kept = kept_.find(key);
  if (kept == kept_.end()) return nullptr;
  if (!kept->second.form->alive()) {
    Drop(kept);
    return nullptr;
  }
  uses_.splice(uses_.begin(), uses_, kept->second.use);
  return kept->second.form;
}

void GrammarService::Keep(const Key& key, std::shared_ptr<Form> form) {
  MutexLock lock(&mu_);
  const auto [kept, fresh] = kept_.try_emplace(key);
  if (!fresh) return;  // another thread has compiled it too
  uses_.push_front(&kept->first);
  kept_bytes_ += form->bytes();
  kept->second = {std::move(form), uses_.begin()};
  while (!uses_.empty() && (kept_bytes_ > options_.kept_bytes || kept_.size() > options_.kept_forms))
    Drop(kept_.find(*uses_.back()));
}

void GrammarService::Drop(std::map<Key, Kept>::iterator kept) {
  kept_bytes_ -= kept->second.form->bytes();
  uses_.erase(kept->second.use);
  kept_.erase(kept);
}

GrammarOptions DefaultGrammarOptions() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path directory = program.parent_path();
  GrammarOptions options;
  options.program = directory / "hydrad-grammar";
  options.directory = directory.parent_path() / "lib" / "xgrammar";
  return options;
}

}  // namespace hydrad
