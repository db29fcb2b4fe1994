#include "server/rpc/intake.h"

#include <fmt/ranges.h>

#include <random>
#include <utility>

#include "server/front/error_details.h"
#include "server/rpc/wire.h"

namespace hydrad {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

uint64_t Random64() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

absl::StatusOr<std::string> CheckKey(const Admission& admission, const Caller& caller,
                                     Duration* retry_after) {
  if (caller.key.ok()) return admission.Authenticate(*caller.key, caller.peer, retry_after);
  RETURN_IF_ERROR(admission.CountWrongKey(caller.peer, retry_after));
  return caller.key.status();
}

}  // namespace

Intake::Intake(const Rooms& rooms) : rooms_(rooms), next_id_(Random64()) {}

absl::Status Intake::Refuse(absl::Status status, std::string_view metric, const Caller* audited,
                            std::string_view tenant, std::string_view adapter) {
  rooms_.metrics.Rejected(metric);
  if (audited != nullptr) {
    rooms_.audit.WriteRefusal({.action = "refused",
                               .actor = tenant,
                               .peer = audited->peer,
                               .adapter = adapter,
                               .path = "",
                               .status = status});
  }
  return status;
}

absl::StatusOr<Ticket> Intake::Enter(const Caller& caller) {
  ASSIGN_OR_RETURN(const std::string tenant, Authenticate(caller));
  if (closed()) {
    return Refuse(WithRetry(WithReason(Unavailable("the server is draining"), "DRAINING"), seconds(1)),
                  "draining", nullptr);
  }
  Duration retry_after{};
  absl::StatusOr<Ticket> ticket = rooms_.admission.Admit(tenant, &retry_after);
  if (ticket.ok()) return ticket;
  return RefuseLimit(ticket.status(), caller, tenant, retry_after);
}

absl::StatusOr<std::string> Intake::EnterCall(const Caller& caller) {
  ASSIGN_OR_RETURN(const std::string tenant, Authenticate(caller));
  Duration retry_after{};
  const absl::Status admitted = rooms_.admission.AdmitCall(tenant, &retry_after);
  if (!admitted.ok()) return RefuseLimit(admitted, caller, tenant, retry_after);
  return tenant;
}

absl::Status Intake::RefuseLimit(absl::Status status, const Caller& caller, const std::string& tenant,
                                 Duration retry_after) {
  return Refuse(WithRetry(WithReason(status, "TENANT_LIMIT", {{"tenant", tenant}}), retry_after),
                "tenant_limit", &caller, tenant);
}

absl::StatusOr<Prepared> Intake::Prepare(const v1::GenerateRequest& message, const Caller& caller,
                                         const Asker& asker) {
  if (const absl::Status valid = Validate(message, rooms_.limits); !valid.ok()) return Invalid(valid);
  RETURN_IF_ERROR(CheckPermissions(message, caller, asker.tenant));
  Prepared prepared;
  Request& request = prepared.request;
  request.arrival = rooms_.clock.Now();
  request.deadline = caller.deadline;
  request.tenant = asker.tenant;
  request.weight = asker.weight;
  RETURN_IF_ERROR(FillAdapters(message, caller, &request));
  if (const absl::Status fits = FillPrompt(message, &request); !fits.ok()) return Invalid(fits);
  request.id = next_id_.fetch_add(1, std::memory_order_relaxed);
  prepared.name = names_.Name(request.id);
  request.expert = message.expert();
  if (message.decision() != v1::DECISION_UNSPECIFIED) request.decision = FromProto(message.decision());
  request.sampling = FromProto(message.sampling());
  request.seed = message.sampling().has_seed() ? message.sampling().seed() : Random64();
  request.n = message.sampling().has_n() ? message.sampling().n() : 1;
  request.output = FromProto(message.output());
  request.stopping = FromProto(message.stopping());
  request.stopping.max_tokens =
      message.stopping().has_max_tokens() ? message.stopping().max_tokens() : kDefaultMaxTokens;
  const bool echo = message.output().echo();
  request.behind_prompt.emplace(rooms_.tokenizer, request.output.skip_special_tokens, request.prompt,
                                echo && message.has_token_ids() ? &prepared.echo : nullptr);
  if (echo && message.has_text()) prepared.echo = message.text();
  return prepared;
}

absl::StatusOr<std::string> Authenticate(const Admission& admission, const Caller& caller) {
  Duration retry_after{};
  absl::StatusOr<std::string> who = CheckKey(admission, caller, &retry_after);
  if (who.ok()) return who;
  if (who.status().code() != absl::StatusCode::kResourceExhausted)
    return WithReason(who.status(), "INVALID_KEY");
  return WithRetry(WithReason(who.status(), "TOO_MANY_WRONG_KEYS"), retry_after);
}

const char* AuthMetric(const absl::Status& refused) {
  return refused.code() == absl::StatusCode::kResourceExhausted ? "auth_slowed" : "auth";
}

absl::StatusOr<std::string> Intake::Authenticate(const Caller& caller) {
  absl::StatusOr<std::string> tenant = hydrad::Authenticate(rooms_.admission, caller);
  if (tenant.ok()) return tenant;
  return Refuse(tenant.status(), AuthMetric(tenant.status()), &caller);
}

absl::Status Intake::CheckPermissions(const v1::GenerateRequest& message, const Caller& caller,
                                      const std::string& tenant) {
  const auto check = [&](const std::string& adapter) {
    if (rooms_.admission.Allowed(tenant, adapter)) return absl::OkStatus();
    const absl::Status denied =
        adapter.empty() ? PermissionDenied("tenant '{}' may not use the base model", tenant)
                        : PermissionDenied("tenant '{}' may not use adapter '{}'", tenant, adapter);
    return Refuse(WithReason(denied, "ADAPTER_NOT_ALLOWED", {{"tenant", tenant}, {"adapter", adapter}}),
                  "permission", &caller, tenant, adapter);
  };
  if (message.adapters().empty()) return check(message.adapter());
  for (const v1::WeightedAdapter& composed : message.adapters()) RETURN_IF_ERROR(check(composed.name()));
  return absl::OkStatus();
}

absl::Status Intake::TextsFull(absl::Status status) {
  return Refuse(WithRetry(WithReason(status, "TEXT_QUEUE_FULL"), seconds(1)), "text_queue_full", nullptr);
}

absl::Status Intake::FillAdapters(const v1::GenerateRequest& message, const Caller& caller,
                                  Request* request) {
  request->adapter_top_k = message.adapter_top_k();
  std::vector<std::string> names;
  if (!message.adapter().empty()) names.push_back(message.adapter());
  for (const v1::WeightedAdapter& composed : message.adapters()) names.push_back(composed.name());
  if (names.empty()) return absl::OkStatus();
  absl::StatusOr<std::vector<AdapterHandle>> handles = rooms_.adapters.AcquireAll(names);
  if (!handles.ok()) return RefuseAdapters(handles.status(), names, caller, request->tenant);
  request->adapter = std::move(handles->front());
  for (int i = 0; i < message.adapters_size(); ++i) {
    const float weight = message.adapters(i).has_weight() ? message.adapters(i).weight() : 1;
    if (i == 0) {
      request->adapter_weight = weight;
    } else {
      request->composed.push_back({std::move((*handles)[static_cast<size_t>(i)]), weight});
    }
  }
  return absl::OkStatus();
}

absl::Status Intake::RefuseAdapters(const absl::Status& why, const std::vector<std::string>& names,
                                    const Caller& caller, const std::string& tenant) {
  const std::string adapters = fmt::format("{}", fmt::join(names, ","));
  const std::map<std::string, std::string> metadata = {{"adapter", adapters}};
  switch (why.code()) {
    case absl::StatusCode::kNotFound:
      return Refuse(WithReason(why, "ADAPTER_NOT_FOUND", metadata), "unknown_adapter", nullptr);
    case absl::StatusCode::kUnavailable:
      return Refuse(WithRetry(WithReason(why, "ADAPTER_NOT_READY", metadata), milliseconds(500)),
                    "adapter_not_ready", nullptr);
    case absl::StatusCode::kResourceExhausted:
      return Refuse(WithReason(why, "NO_ROOM", metadata), "no_room", &caller, tenant, adapters);
    default:
      return Refuse(WithReason(why, "ADAPTER_FAILED", metadata), "adapter_failed", nullptr);
  }
}

absl::Status Intake::FillPrompt(const v1::GenerateRequest& message, Request* request) const {
  if (message.has_token_ids()) {
    const auto& ids = message.token_ids().ids();
    request->prompt.assign(ids.begin(), ids.end());
    return absl::OkStatus();
  }
  request->prompt = rooms_.tokenizer.Encode(message.text(), !message.no_special(), message.parse_special());
  const int tokens = static_cast<int>(request->prompt.size());
  if (tokens == 0) return BadFields({{"text", "has no tokens"}});
  if (tokens >= rooms_.limits.max_context) {
    return BadFields(
        {{"text", fmt::format("has {} tokens: a prompt may have at most {}, so that one more fits the "
                              "context",
                              tokens, rooms_.limits.max_context - 1)}});
  }
  return absl::OkStatus();
}

absl::Status Intake::Submit(Request request) {
  absl::Status status = rooms_.scheduler.submit(std::move(request));
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return status;
    case absl::StatusCode::kResourceExhausted:
      return Refuse(WithRetry(WithReason(status, "QUEUE_FULL"), seconds(1)), "queue_full", nullptr);
    case absl::StatusCode::kUnavailable:
      return Refuse(WithRetry(WithReason(status, "DRAINING"), seconds(1)), "draining", nullptr);
    default:
      return Refuse(status, "invalid", nullptr);
  }
}

}  // namespace hydrad
