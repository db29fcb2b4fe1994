#include "server/front/intake.h"

#include <chrono>
#include <random>
#include <utility>
#include <vector>

#include "server/base/status.h"
#include "server/front/door.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

using std::chrono::seconds;

uint64_t Random64() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

Refusal SchedulerRefused(absl::Status why) {
  switch (why.code()) {
    case absl::StatusCode::kResourceExhausted:
      return {.status = WithRetry(WithReason(std::move(why), "QUEUE_FULL"), seconds(1)),
              .metric = "queue_full"};
    case absl::StatusCode::kUnavailable:
      return {.status = WithRetry(WithReason(std::move(why), "DRAINING"), seconds(1)), .metric = "draining"};
    default:
      return {.status = std::move(why), .metric = "invalid"};
  }
}

std::vector<std::string> AdaptersOf(const AnswerHead& head) {
  if (head.adapters.empty()) return {head.adapter};
  std::vector<std::string> names;
  for (const AnswerHead::Adapter& adapter : head.adapters) names.push_back(adapter.name);
  return names;
}

}  // namespace

Intake::Intake(const Rooms& rooms) : rooms_(rooms), next_id_(Random64()) {}

OrRefusal<Ticket> Intake::LetIn(const Caller& caller) {
  OrRefusal<std::string> tenant = WhoCalls(rooms_.admission, caller);
  if (!tenant.ok()) return std::move(tenant.refusal());
  if (closed()) {
    return Refusal{
        .status = WithRetry(WithReason(Unavailable("the server is draining"), "DRAINING"), seconds(1)),
        .metric = "draining"};
  }
  return Admit(rooms_.admission, *tenant);
}

absl::StatusOr<Ticket> Intake::Enter(const Caller& caller) { return Recorded(LetIn(caller), caller); }

absl::StatusOr<std::string> Intake::EnterCall(const Caller& caller) {
  OrRefusal<std::string> tenant = WhoCalls(rooms_.admission, caller);
  if (tenant.ok()) tenant = AdmitCall(rooms_.admission, *tenant);
  return Recorded(std::move(tenant), caller);
}

absl::StatusOr<std::string> Intake::EnterGlance(const Caller& caller) {
  return Recorded(WhoCalls(rooms_.admission, caller), caller);
}

absl::Status Intake::Start(const EnteredCall& call, GenerateCall message, const MakeSink& make_sink) {
  OrRefusal<Prepared> prepared = MakeRequest(rooms_, std::move(message), call);
  if (!prepared.ok()) return Recorded(std::move(prepared.refusal()), call.caller);
  auto& [request, head] = *prepared;
  const RequestId id = request.id = next_id_.fetch_add(1, std::memory_order_relaxed);
  head.request_id = names_.Name(id);
  std::vector<std::string> adapters = AdaptersOf(head);
  const std::shared_ptr<TokenSink> sink =
      activity_.Watch(make_sink(std::move(head)), request.tenant, std::move(adapters));
  request.sink = rooms_.delivery.To(sink, request.tenant);
  if (absl::Status refused = rooms_.scheduler.submit(std::move(request)); !refused.ok()) {
    sink->OnDone(Recorded(SchedulerRefused(std::move(refused)), call.caller), {});
  } else {
    call.cancel->Bind([this, id](const absl::Status& why) { rooms_.scheduler.cancel(id, why); });
  }
  return absl::OkStatus();
}

void Intake::Work(TextPool& texts, const EnteredCall& call, size_t bytes,
                  std::function<void(absl::Status)> work, bool long_work) {
  if (bytes <= kShortMessage && !long_work) return work(absl::OkStatus());
  const auto wanted = [this, cancel = call.cancel, deadline = call.caller.deadline] {
    if (deadline && rooms_.clock.Now() >= *deadline) return CancelStatus(deadline, rooms_.clock);
    return cancel->status();
  };
  const absl::Status taken = texts.Submit(call.asker.tenant, {.bytes = bytes, .wanted = wanted, .run = work});
  if (taken.ok()) return;
  work(Recorded(
      {.status = WithRetry(WithReason(taken, "TEXT_QUEUE_FULL"), seconds(1)), .metric = "text_queue_full"},
      call.caller));
}

absl::Status Intake::Invalid(absl::Status status, const Caller& caller) {
  return Recorded(Refusal{.status = std::move(status), .metric = "invalid"}, caller);
}

}  // namespace hydrad
