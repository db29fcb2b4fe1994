#include "server/front/audit.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "server/base/log.h"
#include "server/base/status.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

std::string WallTime() {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto millis = now.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     millis);
}

std::string ToJson(const AuditEvent& event, int64_t suppressed) {
  nlohmann::ordered_json line = {{"time", WallTime()}, {"action", event.action}};
  for (const auto& [key, value] : {std::pair{"actor", event.actor}, std::pair{"peer", event.peer},
                                   std::pair{"adapter", event.adapter}, std::pair{"path", event.path}}) {
    if (!value.empty()) line[key] = value;
  }
  line["code"] = std::string(absl::StatusCodeToString(event.status.code()));
  if (!event.status.ok()) {
    line["reason"] = ReasonOf(event.status);
    line["message"] = std::string(event.status.message());
  }
  if (suppressed > 0) line["suppressed"] = suppressed;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(const std::string& path, const Clock& clock) {
  int fd = -1;
  if (!path.empty()) {
    fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return FailedPrecondition("audit log '{}' cannot be opened: {}", path, std::strerror(errno));
  }
  return std::unique_ptr<AuditLog>(new AuditLog(fd, clock));
}

AuditLog::AuditLog(int fd, const Clock& clock)
    : fd_(fd), refusals_(kRefusalsPerSecond, clock), writer_([this] { Run(); }) {}

AuditLog::~AuditLog() {
  lines_.SendAlways("");
  writer_.join();
  if (fd_ >= 0) close(fd_);
}

void AuditLog::Write(const AuditEvent& event) {
  MutexLock lock(&mu_);
  ++queued_;
  lines_.SendAlways(ToJson(event, 0));
}

void AuditLog::WriteRefusal(const AuditEvent& event) {
  const std::optional<int64_t> held_back = refusals_.Pass();
  if (!held_back) return;  // before anything is made of it
  MutexLock lock(&mu_);
  suppressed_ += *held_back;
  std::string line = ToJson(event, suppressed_);
  if (lines_.Send(line) != Inbox<std::string>::Sent::kOk) {
    ++suppressed_;
    return;
  }
  ++queued_;
  suppressed_ = 0;
}

void AuditLog::Flush() {
  MutexLock lock(&mu_);
  const int64_t until = queued_;
  mu_.Await([this, until]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return written_ >= until; });
}

void AuditLog::Run() {
  while (true) {
    const std::vector<std::string> lines = lines_.ReceiveAll(std::chrono::hours(1));
    for (const std::string& line : lines) {
      if (line.empty()) return;
      Put(line);
      MutexLock lock(&mu_);
      ++written_;
    }
  }
}

void AuditLog::Put(const std::string& line) {
  if (fd_ < 0) {
    Log()->info("audit {}", line);
    return;
  }
  const std::string whole = line + '\n';
  if (write(fd_, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) {
    Log()->error("audit log cannot be written: {}", std::strerror(errno));
  }
}

}  // namespace hydrad
