#include "server/front/refusal.h"

namespace hydrad {

absl::Status Record(Refusal refusal, std::string_view peer, Metrics& metrics, AuditLog& audit) {
  metrics.Rejected(refusal.metric);
  if (refusal.audited) {
    audit.WriteRefusal({.action = "refused",
                        .actor = refusal.actor,
                        .peer = peer,
                        .adapter = refusal.adapter,
                        .path = "",
                        .status = refusal.status});
  }
  return std::move(refusal.status);
}

}  // namespace hydrad
