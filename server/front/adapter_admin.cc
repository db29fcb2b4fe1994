#include "server/front/adapter_admin.h"

#include <fmt/core.h>

#include <chrono>
#include <map>
#include <utility>

#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/door.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

constexpr char kActor[] = "admin";  // in the audit log

// What the store's errors mean to a client.
absl::Status Explain(const absl::Status& status, const std::string& name) {
  const std::map<std::string, std::string> metadata = {{"adapter", name}};
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return status;
    case absl::StatusCode::kNotFound:
      return WithReason(status, "ADAPTER_NOT_FOUND", metadata);
    case absl::StatusCode::kInvalidArgument:
      return WithReason(status, "ADAPTER_INVALID", metadata);
    case absl::StatusCode::kResourceExhausted:
      return WithReason(status, "NO_ROOM", metadata);
    case absl::StatusCode::kUnavailable:
      return WithRetry(WithReason(status, "ADAPTER_NOT_READY", metadata), std::chrono::seconds(1));
    case absl::StatusCode::kAborted:
      return WithRetry(WithReason(status, "ADAPTER_BUSY", metadata), std::chrono::seconds(1));
    default:
      return WithReason(status, absl::StatusCodeToString(status.code()), metadata);
  }
}
template <class T>
absl::StatusOr<T> Explained(const absl::StatusOr<T>& result, const std::string& name) {
  if (result.ok()) return result;
  return Explain(result.status(), name);
}

// A change under way, as the audit log tells it.
struct Change {
  std::string action, peer, name, path;
};

void Audit(const Rooms& rooms, const Change& change, const absl::Status& status) {
  rooms.audit.Write({.action = change.action,
                     .actor = kActor,
                     .peer = change.peer,
                     .adapter = change.name,
                     .path = change.path,
                     .status = status});
}

// What the store calls when the change is made.
AdapterStore::Done Ended(const Rooms& rooms, Change change, const AdapterAdmin::Done& done) {
  return [rooms, change = std::move(change), done](const absl::StatusOr<AdapterInfo>& info) {
    const absl::StatusOr<AdapterInfo> explained = Explained(info, change.name);
    Audit(rooms, change, explained.status());
    done(explained);
  };
}

}  // namespace

absl::Status AdapterAdmin::Enter(const Caller& caller) const {
  OrRefusal<std::string> who = WhoCalls(admins_, caller);
  if (who.ok()) return absl::OkStatus();
  who.refusal().actor = kActor;
  return Record(std::move(who.refusal()), caller.peer, rooms_.metrics, rooms_.audit);
}

absl::Status AdapterAdmin::MayLoad() const {
  if (!intake_.closed()) return absl::OkStatus();
  return WithReason(Unavailable("the server is draining"), "DRAINING");
}

void AdapterAdmin::Load(const LoadCall& call, const std::string& peer, const Done& done) {
  if (const absl::Status valid = Validate(call); !valid.ok()) return done(valid);
  if (const absl::Status may = MayLoad(); !may.ok()) return done(may);
  const std::string path = rooms_.adapters.Locate(call.path).value_or(call.path);
  const char* action = call.validate_only ? "adapter.validate" : "adapter.load";
  AdapterStore::Done ended = Ended(rooms_, {action, peer, call.name, path}, done);
  const ChangeOptions options{.digest = call.etag, .request_id = call.request_id, .lenient = call.lenient};
  if (call.validate_only) {
    rooms_.adapters.ValidateOnly(call.name, path, std::move(ended), options);
  } else {
    rooms_.adapters.Load(call.name, path, std::move(ended), options);
  }
}

void AdapterAdmin::Unload(const UnloadCall& call, const std::string& peer, const Done& done) {
  if (const absl::Status valid = Validate(call); !valid.ok()) return done(valid);
  rooms_.adapters.Unload(call.name, Ended(rooms_, {"adapter.unload", peer, call.name, ""}, done),
                         {.digest = call.etag, .force = call.force, .request_id = call.request_id});
}

void AdapterAdmin::Pin(const PinCall& call, const std::string& peer, const Done& done) {
  if (const absl::Status valid = Validate(call); !valid.ok()) return done(valid);
  const char* action = call.pinned ? "adapter.pin" : "adapter.unpin";
  rooms_.adapters.Pin(call.name, call.pinned, Ended(rooms_, {action, peer, call.name, ""}, done),
                      {.request_id = call.request_id});
}

void AdapterAdmin::Apply(const ApplyCall& call, const std::string& peer, const ApplyDone& done) {
  if (const absl::Status valid = Validate(call); !valid.ok()) return done(valid);
  if (const absl::Status may = MayLoad(); !may.ok()) return done(may);
  AdapterApplier::Options options{
      .validate_only = call.validate_only,
      .force = call.force,
      .request_id = call.request_id,
      .on_change = [rooms = rooms_, peer](const char* action, const WantedAdapter& wanted,
                                          const absl::Status& status) {
        Audit(rooms, {fmt::format("adapter.{}", action), peer, wanted.name, wanted.path}, status);
      }};
  applier_.Apply(call.adapters, std::move(options),
                 [rooms = rooms_, peer, done](const absl::StatusOr<std::vector<AppliedChange>>& changes) {
                   const absl::StatusOr<std::vector<AppliedChange>> explained = Explained(changes, "");
                   Audit(rooms, {"adapter.apply", peer, "", ""}, explained.status());
                   done(explained);
                 });
}

absl::StatusOr<AdapterInfo> AdapterAdmin::Get(const GetCall& call) const {
  RETURN_IF_ERROR(Validate(call));
  return Explained(rooms_.adapters.Get(call.name), call.name);
}

absl::StatusOr<AdapterPage> AdapterAdmin::List(const ListCall& call) const {
  RETURN_IF_ERROR(Validate(call));
  return PageOf(rooms_.adapters.List(), call);
}

}  // namespace hydrad
