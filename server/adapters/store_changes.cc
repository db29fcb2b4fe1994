// What operators ask of the store about adapters that are there: unload, pin.
#include <utility>

#include "server/adapters/store_impl.h"

namespace hydrad {
namespace {

// What a request id stands for.
std::string UnloadInWords(const std::string& name, const ChangeOptions& change) {
  return fmt::format("unload {} {} {}", name, change.digest, change.force ? "force" : "drain");
}
std::string PinInWords(const std::string& name, bool pinned) {
  return fmt::format("{} {}", pinned ? "pin" : "unpin", name);
}

}  // namespace

absl::StatusOr<AdapterStore::Impl::EntryPtr> AdapterStore::Impl::EntryToChange(const std::string& name,
                                                                               const ChangeOptions& change) {
  RETURN_IF_ERROR(registry.MayChange(name));
  EntryPtr entry = registry.Find(name);
  if (!change.digest.empty() && change.digest != entry->info.digest) {
    return Aborted("adapter '{}' has the digest '{}', not '{}'", name, entry->info.digest, change.digest);
  }
  return entry;
}

void AdapterStore::Impl::Unload(const std::string& name, const Done& done, const ChangeOptions& change) {
  if (const auto repeated = Repeated(change, UnloadInWords(name, change), name)) return done(*repeated);
  absl::StatusOr<EntryPtr> entry;
  {
    MutexLock lock(&mu);
    entry = EntryToChange(name, change);
    if (entry.ok()) (*entry)->changing = true;
  }
  if (!entry.ok()) return done(entry.status());
  Commit([this, e = *entry, done, change] { CommitUnload(e, done, change); });
}

void AdapterStore::Impl::CommitUnload(const EntryPtr& entry, const Done& done, const ChangeOptions& change) {
  const std::string& name = entry->name;
  const absl::Status recorded =
      Record({.removed = name}, change.request_id,
             {change.request_id, UnloadInWords(name, change), name, entry->info.generation});
  bool gone = false;
  {
    MutexLock lock(&mu);
    entry->changing = false;
    if (recorded.ok()) {
      ForgetPin(entry);
      gone = registry.BeginUnload(*entry);
      if (!gone) unloads.emplace(entry, done);
      if (change.force) {
        for (ClaimState* claim : entry->claims) End(*claim, Aborted("adapter '{}' was unloaded", name));
      }
      FinishUnload(entry);
      KickPump();
    }
  }
  if (!recorded.ok()) return done(recorded);
  DeliverEvents();
  if (gone) done(entry->info);
}

absl::Status AdapterStore::Impl::CheckPinsFit(const EntryPtr& entry) {
  uint64_t bytes = entry->info.device_bytes;
  for (const EntryPtr& other : kept) bytes += other == entry ? 0 : other->info.device_bytes;
  if (bytes <= options.device_bytes) return absl::OkStatus();
  return ResourceExhausted("adapter '{}': the pinned adapters would take {} bytes on the device, of {}",
                           entry->name, bytes, options.device_bytes);
}

void AdapterStore::Impl::ForgetPin(const EntryPtr& entry) {
  entry->kept = false;
  kept.erase(entry);
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
    if (status.ok()) status = registry.Serving(name).status();
    if (status.ok() && pinned) status = CheckPinsFit(*entry);
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
      registry.SetPinned(*entry, pinned);
    }
    // It may have been lost meanwhile: the pin counts when it has been loaded again.
    if (status.ok() && entry->serving != nullptr) {
      if (pinned) kept.insert(entry);
      entry->kept = pinned;
      entry->fetch_failed = false;
      for (const PieceId piece : entry->serving->pieces) residency.SetKept(piece, pinned);
      KickPump();
    }
    info = status.ok() ? absl::StatusOr<AdapterInfo>(Registry::Snapshot(*entry)) : status;
  }
  DeliverEvents();
  done(info);
}

}  // namespace hydrad
