#include "server/adapters/store/changes.h"

#include <fmt/core.h>

#include <utility>
#include <vector>

#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// What a request id stands for.
std::string UnloadInWords(const std::string& name, const ChangeOptions& change) {
  return fmt::format("unload {} {} {}", name, change.digest, change.force ? "force" : "drain");
}
std::string PinInWords(const std::string& name, bool pinned) {
  return fmt::format("{} {}", pinned ? "pin" : "unpin", name);
}

absl::Status CheckDigest(const AdapterEntry& entry, const ChangeOptions& change) {
  if (change.digest.empty() || change.digest == entry.info.digest) return absl::OkStatus();
  return Aborted("adapter '{}' has the digest '{}', not '{}'", entry.name, entry.info.digest, change.digest);
}

}  // namespace

absl::StatusOr<Changes::EntryPtr> Changes::FindToChange(const std::string& name,
                                                        const ChangeOptions& change) {
  RETURN_IF_ERROR(state_.catalogue.MayChange(name));
  EntryPtr entry = state_.catalogue.Find(name);
  RETURN_IF_ERROR(CheckDigest(*entry, change));
  return entry;
}

// The same request again, of a client that went away, waits for the same end.
void Changes::Unload(const std::string& name, const AdapterStore::Done& done, const ChangeOptions& change) {
  const auto answered_before = [&] {
    return AnsweredBefore(records_, state_, change.request_id, UnloadInWords(name, change), name);
  };
  const auto before = answered_before();
  const bool under_way = before && before->ok() && (*before)->state == AdapterState::kUnloading;
  if (before && !under_way) return done(*before);
  absl::StatusOr<UnloadRequest> request;
  bool joined = false;  // with nothing to be recorded
  {
    MutexLock lock(&state_.mu);
    request = AskForUnload(name, change, /*only_join=*/before.has_value());
    if (request.ok()) {
      request->done = done;
      const bool known = before || change.request_id.empty();
      joined = request->joins && known && state_.unloads.Join(request->entry, done, change.force);
    }
  }
  if (joined) return notifier_.Settle();
  if (!request.ok()) return done(before ? *answered_before() : request.status());
  records_.Run([this, r = *std::move(request)] { RecordUnload(r); });
}

absl::StatusOr<Changes::UnloadRequest> Changes::AskForUnload(const std::string& name,
                                                             const ChangeOptions& change, bool only_join) {
  UnloadRequest request{.change = change};
  EntryPtr entry = state_.catalogue.Find(name);
  if (entry != nullptr && state_.unloads.UnderWay(entry)) {
    RETURN_IF_ERROR(CheckDigest(*entry, change));
    request.entry = std::move(entry);
    request.joins = true;
    return request;
  }
  if (only_join) return NotFound("the unload of '{}' is over", name);
  ASSIGN_OR_RETURN(request.entry, FindToChange(name, change));
  state_.unloads.Ask(request.entry);
  return request;
}

void Changes::RecordUnload(const UnloadRequest& request) {
  const std::string& name = request.entry->name;
  const ChangeOptions& change = request.change;
  absl::Status status =
      records_.Record({.removed = request.joins ? std::string() : name},
                      {change.request_id, UnloadInWords(name, change), name, request.entry->info.generation});
  std::vector<AdapterStore::Done> over;
  AdapterInfo info;
  {
    MutexLock lock(&state_.mu);
    over = MakeUnload(request, status.ok());
    info = request.entry->info;
  }
  if (status.ok() && info.state != AdapterState::kUnloaded) {  // what it joined could not be recorded
    status = Internal("the change could not be recorded");
  }
  for (const AdapterStore::Done& done : over) status.ok() ? done(info) : done(status);
  notifier_.Settle();
}

std::vector<AdapterStore::Done> Changes::MakeUnload(const UnloadRequest& request, bool recorded) {
  const bool force = request.change.force;
  if (request.joins) {
    if (recorded && state_.unloads.Join(request.entry, request.done, force)) return {};
    return {request.done};
  }
  if (!recorded) {
    std::vector<AdapterStore::Done> over = state_.unloads.Abandon(request.entry);
    over.push_back(request.done);
    return over;
  }
  state_.unloads.Begin(request.entry, request.done, force);
  fetcher_.Schedule();
  return {};
}

void Changes::Pin(const std::string& name, bool pinned, const AdapterStore::Done& done,
                  const ChangeOptions& change) {
  const auto before = AnsweredBefore(records_, state_, change.request_id, PinInWords(name, pinned), name);
  if (before) return done(*before);
  const absl::StatusOr<EntryPtr> entry = AskForPin(name, pinned, change);
  if (!entry.ok()) return done(entry.status());
  records_.Run([this, e = *entry, pinned, done, change] { RecordPin(e, pinned, done, change); });
}

absl::StatusOr<Changes::EntryPtr> Changes::AskForPin(const std::string& name, bool pinned,
                                                     const ChangeOptions& change) {
  MutexLock lock(&state_.mu);
  ASSIGN_OR_RETURN(EntryPtr entry, FindToChange(name, change));
  RETURN_IF_ERROR(state_.catalogue.Serving(name).status());
  if (pinned) RETURN_IF_ERROR(state_.room.CheckPinFits(entry, state_.generations.DeviceBytesOf(*entry)));
  entry->changing = true;
  return entry;
}

void Changes::RecordPin(const EntryPtr& entry, bool pinned, const AdapterStore::Done& done,
                        const ChangeOptions& change) {
  AdapterInfo wanted;
  {
    MutexLock lock(&state_.mu);
    wanted = entry->info;
  }
  wanted.pinned = pinned;
  const absl::Status status =
      records_.Record({.wanted = wanted},
                      {change.request_id, PinInWords(entry->name, pinned), entry->name, wanted.generation});
  AdapterInfo info;
  {
    MutexLock lock(&state_.mu);
    entry->changing = false;
    if (status.ok()) MakePin(entry, pinned);
    info = Catalogue::Snapshot(*entry);
  }
  notifier_.Settle();
  status.ok() ? done(info) : done(status);
}

void Changes::MakePin(const EntryPtr& entry, bool pinned) {
  state_.room.StopKeeping(entry);
  state_.catalogue.SetPinned(*entry, pinned);
  // What was lost meanwhile is kept when it has been loaded again.
  if (entry->serving == nullptr) return;
  state_.room.Keep(entry, pinned);
  entry->backoff.Worked();
  state_.room.Recheck();
  if (pinned) state_.room.WarnOfRefused();
  fetcher_.Schedule();
}

}  // namespace hydrad
