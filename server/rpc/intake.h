// The way in: from a message of a stranger to a request in the scheduler's inbox. Knows no transport, so
// every front end goes through it.
#ifndef HYDRAD_SERVER_RPC_INTAKE_H_
#define HYDRAD_SERVER_RPC_INTAKE_H_

#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrad/v1/inference.pb.h"
#include "server/adapters/store/adapter_store.h"
#include "server/admission/admission.h"
#include "server/front/audit.h"
#include "server/front/delivery.h"
#include "server/front/request_names.h"
#include "server/front/scheduler_calls.h"
#include "server/metrics/metrics.h"
#include "server/rpc/validate.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// The rooms behind the front ends. Each must outlive whatever is given this.
struct Rooms {
  const SchedulerCalls& scheduler;
  AdapterStore& adapters;
  Admission& admission;
  const Tokenizer& tokenizer;
  Metrics& metrics;
  AuditLog& audit;
  Delivery& delivery;
  const Clock& clock;
  RequestLimits limits;
};

// Who calls, as the transport knows it.
struct Caller {
  absl::StatusOr<std::string> key;    // bearer key, "" when none was sent
  std::string peer;                   // for the audit log
  std::optional<TimePoint> deadline;  // of the call
};

// Who calls, or why it is refused, with reason and details: INVALID_KEY, TOO_MANY_WRONG_KEYS.
absl::StatusOr<std::string> Authenticate(const Admission& admission, const Caller& caller);
// The reason under which such a refusal is counted.
const char* AuthMetric(const absl::Status& refused);

// Whose request it is.
struct Asker {
  std::string tenant;
  double weight = 1;
};

// A request that may be submitted once it has a sink.
struct Prepared {
  Request request;
  // The prompt's text, when it is to be repeated: as it was sent, or of ids all whole characters, so that
  // each choice's text goes on where it ends.
  std::string echo;
  std::string name;  // of the request, for its client
};

// Thread-safe; nothing here waits. Each refusal is counted, written to the audit log where somebody was
// turned away (key, permission, limit), and carries a reason.
class Intake {
 public:
  explicit Intake(const Rooms& rooms);

  // Who calls, and the right to run one request: all that is asked before anybody looks at the message.
  absl::StatusOr<Ticket> Enter(const Caller& caller);
  // Likewise for a call that needs no scheduler: the tenant, whose rate it counts against.
  absl::StatusOr<std::string> EnterCall(const Caller& caller);

  // Validates, checks permissions, acquires the adapters and tokenises, in that order. Takes long for a long
  // text.
  absl::StatusOr<Prepared> Prepare(const v1::GenerateRequest& message, const Caller& caller,
                                   const Asker& asker);
  // For messages that Prepare does not see: counts a refusal and returns it.
  absl::Status Invalid(absl::Status status) { return Refuse(std::move(status), "invalid", nullptr); }
  // For texts that nobody has time to read: as Submit for a full queue.
  absl::Status TextsFull(absl::Status status);
  // Hands the request to the scheduler. REQUIRES: request.sink.
  absl::Status Submit(Request request);

  // From now on every request is refused with UNAVAILABLE.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

  const Rooms& rooms() const { return rooms_; }

 private:
  // Counts a refusal, and writes it to the audit log if `audited`.
  absl::Status Refuse(absl::Status status, std::string_view metric, const Caller* audited,
                      std::string_view tenant = "", std::string_view adapter = "");
  absl::StatusOr<std::string> Authenticate(const Caller& caller);
  absl::Status RefuseLimit(absl::Status status, const Caller& caller, const std::string& tenant,
                           Duration retry_after);
  absl::Status CheckPermissions(const v1::GenerateRequest& message, const Caller& caller,
                                const std::string& tenant);
  absl::Status FillAdapters(const v1::GenerateRequest& message, const Caller& caller, Request* request);
  absl::Status RefuseAdapters(const absl::Status& why, const std::vector<std::string>& names,
                              const Caller& caller, const std::string& tenant);
  absl::Status FillPrompt(const v1::GenerateRequest& message, Request* request) const;

  const Rooms rooms_;
  std::atomic<bool> closed_ = false;
  const RequestNames names_;
  std::atomic<RequestId> next_id_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_INTAKE_H_
