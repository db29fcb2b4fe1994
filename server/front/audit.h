// The audit log: who did what to the server, and who was turned away. One JSON object a line.
#ifndef HYDRAD_SERVER_FRONT_AUDIT_H_
#define HYDRAD_SERVER_FRONT_AUDIT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "server/base/clock.h"
#include "server/base/inbox.h"
#include "server/base/mutex.h"
#include "server/base/rate_limit.h"

namespace hydrad {

// One line of the log, which leaves out empty fields. There is no field for text of a prompt or an answer.
struct AuditEvent {
  std::string_view action;  // "adapter.load", "adapter.unload", "refused", "server.drain", ...
  std::string_view actor;   // tenant or "admin"
  std::string_view peer;    // as gRPC names it: "ipv4:127.0.0.1:40404"
  std::string_view adapter;
  std::string_view path;  // relative to the adapter root
  absl::Status status;    // how it ended
};

// Thread-safe. Nobody who writes waits for the disk: a thread of the log's own does, behind a bounded queue.
// It writes each line with one call, so that lines of several processes do not mix. Destruction writes what
// is queued.
class AuditLog {
 public:
  // Appends to the file `path`, which is made with mode 0600 where there is none; with "" the process's log
  // takes the lines. FAILED_PRECONDITION if the file cannot be opened. `clock` must outlive the log.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(const std::string& path, const Clock& clock);
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // No line is lost; the number of changes under way bounds how many wait.
  void Write(const AuditEvent& event);
  // Writes at most kRefusalsPerSecond lines, and none while kQueue lines wait for the disk: strangers must
  // not be able to fill either. The next line tells in "suppressed" how many were left out.
  void WriteRefusal(const AuditEvent& event);
  // Returns when everything written before is in the file.
  void Flush();

  static constexpr int kRefusalsPerSecond = 20;
  static constexpr size_t kQueue = 1024;

 private:
  AuditLog(int fd, const Clock& clock);
  void Run();
  void Put(const std::string& line);

  const int fd_;  // -1: the process's log
  RateLimit refusals_;
  Inbox<std::string> lines_{kQueue};  // "": the end
  Mutex mu_;
  int64_t suppressed_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t queued_ ABSL_GUARDED_BY(mu_) = 0, written_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread writer_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_AUDIT_H_
