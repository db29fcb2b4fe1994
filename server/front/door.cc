#include "server/front/door.h"

#include <utility>

#include "server/base/status_macros.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

absl::StatusOr<std::string> CheckKey(const Admission& admission, const Caller& caller,
                                     Duration* retry_after) {
  if (caller.key.ok()) return admission.Authenticate(*caller.key, caller.peer, retry_after);
  RETURN_IF_ERROR(admission.CountWrongKey(caller.peer, retry_after));
  return caller.key.status();
}

Refusal OverLimit(const absl::Status& why, const std::string& tenant, Duration retry_after) {
  return {.status = WithRetry(WithReason(why, "TENANT_LIMIT", {{"tenant", tenant}}), retry_after),
          .metric = "tenant_limit",
          .audited = true,
          .actor = tenant};
}

}  // namespace

OrRefusal<std::string> WhoCalls(const Admission& admission, const Caller& caller) {
  Duration retry_after{};
  absl::StatusOr<std::string> who = CheckKey(admission, caller, &retry_after);
  if (who.ok()) return *std::move(who);
  if (who.status().code() != absl::StatusCode::kResourceExhausted) {
    return Refusal{.status = WithReason(who.status(), "INVALID_KEY"), .metric = "auth", .audited = true};
  }
  return Refusal{.status = WithRetry(WithReason(who.status(), "TOO_MANY_WRONG_KEYS"), retry_after),
                 .metric = "auth_slowed",
                 .audited = true};
}

OrRefusal<Ticket> Admit(Admission& admission, const std::string& tenant) {
  Duration retry_after{};
  absl::StatusOr<Ticket> ticket = admission.Admit(tenant, &retry_after);
  if (!ticket.ok()) return OverLimit(ticket.status(), tenant, retry_after);
  return *std::move(ticket);
}

OrRefusal<std::string> AdmitCall(Admission& admission, const std::string& tenant) {
  Duration retry_after{};
  const absl::Status admitted = admission.AdmitCall(tenant, &retry_after);
  if (!admitted.ok()) return OverLimit(admitted, tenant, retry_after);
  return tenant;
}

}  // namespace hydrad
