// What operators ask of the store about adapters that are there: unload, pin.
#include <utility>

#include "server/adapters/store/store_impl.h"
#include "server/base/reason.h"

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

absl::StatusOr<AdapterStore::Impl::EntryPtr> AdapterStore::Impl::EntryToChange(const std::string& name,
                                                                               const ChangeOptions& change) {
  RETURN_IF_ERROR(catalogue.MayChange(name));
  EntryPtr entry = catalogue.Find(name);
  RETURN_IF_ERROR(CheckDigest(*entry, change));
  return entry;
}

// The same request again, of a client that went away, waits for the same end.
void AdapterStore::Impl::Unload(const std::string& name, const Done& done, const ChangeOptions& change) {
  const auto repeated = Repeated(change, UnloadInWords(name, change), name);
  const bool over = repeated && !(repeated->ok() && (*repeated)->state == AdapterState::kUnloading);
  if (over) return done(*repeated);
  absl::StatusOr<UnloadJob> job;
  bool joined = false;  // with nothing to be recorded
  {
    MutexLock lock(&mu);
    job = StartUnload(name, change, /*only_join=*/repeated.has_value());
    if (job.ok()) {
      job->done = done;
      const bool known = repeated || change.request_id.empty();
      joined = job->joins && known && JoinUnload(*job);
    }
  }
  if (joined) return Settle();
  if (!job.ok()) return done(repeated ? *Repeated(change, UnloadInWords(name, change), name) : job.status());
  Commit([this, j = *std::move(job)] { CommitUnload(j); });
}

absl::StatusOr<AdapterStore::Impl::UnloadJob> AdapterStore::Impl::StartUnload(const std::string& name,
                                                                              const ChangeOptions& change,
                                                                              bool only_join) {
  UnloadJob job{.change = change};
  if (EntryPtr entry = catalogue.Find(name); entry != nullptr && unloads.contains(entry)) {
    RETURN_IF_ERROR(CheckDigest(*entry, change));
    job.entry = std::move(entry);
    job.joins = true;
    return job;
  }
  if (only_join) return NotFound("the unload of '{}' is over", name);
  ASSIGN_OR_RETURN(job.entry, EntryToChange(name, change));
  job.entry->changing = true;
  unloads[job.entry];
  return job;
}

void AdapterStore::Impl::CommitUnload(const UnloadJob& job) {
  const std::string& name = job.entry->name;
  absl::Status status =
      Record({.removed = job.joins ? std::string() : name}, job.change.request_id,
             {job.change.request_id, UnloadInWords(name, job.change), name, job.entry->info.generation});
  std::vector<Done> over;
  AdapterInfo info;
  {
    MutexLock lock(&mu);
    if (job.joins) {
      if (!status.ok() || !JoinUnload(job)) over = {job.done};
    } else if (status.ok()) {
      BeginUnload(job);
    } else {
      job.entry->changing = false;
      over = std::move(unloads.extract(job.entry).mapped().waiting);
      over.push_back(job.done);
    }
    info = job.entry->info;
  }
  if (status.ok() && info.state != AdapterState::kUnloaded) {  // what it joined could not be recorded
    status = Internal("the change could not be recorded");
  }
  for (const Done& done : over) status.ok() ? done(info) : done(status);
  Settle();
}

void AdapterStore::Impl::BeginUnload(const UnloadJob& job) {
  const EntryPtr& entry = job.entry;
  entry->changing = false;
  ForgetPin(entry);
  UnloadUnderWay& begun = unloads[entry];
  begun.waiting.push_back(job.done);
  if (catalogue.BeginUnload(*entry)) return UnloadIsOver(entry);  // its load had failed
  if (job.change.force || begun.force) EndClaims(entry);
  FinishUnload(entry);
  KickPump();
}

bool AdapterStore::Impl::JoinUnload(const UnloadJob& job) {
  const auto begun = unloads.find(job.entry);
  if (begun == unloads.end()) return false;
  begun->second.waiting.push_back(job.done);
  begun->second.force |= job.change.force;
  const bool running = job.entry->info.state == AdapterState::kUnloading;  // else it is being recorded
  if (running && job.change.force) EndClaims(job.entry);
  return true;
}

void AdapterStore::Impl::UnloadIsOver(const EntryPtr& entry) {
  auto begun = unloads.extract(entry);
  for (Done& done : begun.mapped().waiting) unloaded.emplace_back(std::move(done), entry->info);
}

void AdapterStore::Impl::EndClaims(const EntryPtr& entry) {
  const absl::Status why = Because(Aborted("adapter '{}' was unloaded", entry->name), "ADAPTER_UNLOADED");
  for (ClaimState* claim : entry->claims) End(*claim, why);
}

void AdapterStore::Impl::ForgetPin(const EntryPtr& entry) {
  room_changed = true;
  Keep(entry, false);
}

void AdapterStore::Impl::Pin(const std::string& name, bool pinned, const Done& done,
                             const ChangeOptions& change) {
  if (const auto repeated = Repeated(change, PinInWords(name, pinned), name)) return done(*repeated);
  absl::StatusOr<EntryPtr> entry;
  absl::Status status;
  {
    MutexLock lock(&mu);
    entry = EntryToChange(name, change);
    status = entry.status();
    if (status.ok()) status = catalogue.Serving(name).status();
    if (status.ok() && pinned) status = CheckPinsFit(*entry, DeviceBytesOf(**entry));
    if (status.ok()) (*entry)->changing = true;
  }
  if (!status.ok()) return done(status);
  Commit([this, e = *entry, pinned, done, change] { CommitPin(e, pinned, done, change); });
}

void AdapterStore::Impl::CommitPin(const EntryPtr& entry, bool pinned, const Done& done,
                                   const ChangeOptions& change) {
  AdapterInfo wanted;
  {
    MutexLock lock(&mu);
    wanted = entry->info;
  }
  wanted.pinned = pinned;
  absl::Status status =
      Record({.wanted = wanted}, change.request_id,
             {change.request_id, PinInWords(entry->name, pinned), entry->name, wanted.generation});
  absl::StatusOr<AdapterInfo> info;
  {
    MutexLock lock(&mu);
    entry->changing = false;
    if (status.ok()) {
      ForgetPin(entry);
      catalogue.SetPinned(*entry, pinned);
    }
    // It may have been lost meanwhile: the pin counts when it has been loaded again.
    if (status.ok() && entry->serving != nullptr) {
      Keep(entry, pinned);
      entry->backoff.Worked();
      LookAtRoom();
      if (pinned) WarnOfKeptOut();
      KickPump();
    }
    info = status.ok() ? absl::StatusOr<AdapterInfo>(Catalogue::Snapshot(*entry)) : status;
  }
  Settle();
  done(info);
}

}  // namespace hydrad
