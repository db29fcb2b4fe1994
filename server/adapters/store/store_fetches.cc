// What requests wait for, brought to the device; and what is given up.
#include <algorithm>
#include <utility>

#include "server/adapters/store/store_impl.h"
#include "server/base/log.h"
#include "server/base/reason.h"

namespace hydrad {
void AdapterStore::Impl::KickPump() {
  if (!pump_queued && !stopping) pump_queued = fetches->Post([this] { Pump(); });
}

void AdapterStore::Impl::Pump() {
  Settle();
  ResumeParked();
  while (true) {
    std::optional<Residency::Work> work;
    {
      MutexLock lock(&mu);
      pump_queued = false;
      if (stopping) return;
      RefreshWanted();
      work = residency.Next();
      ApplyMoves();
      if (!work) NoteBlocked();
    }
    if (!work) break;
    const ComponentId component = work->component;
    const bool posted = fetches->Post([this, w = *std::move(work)]() mutable { RunFetch(std::move(w)); });
    if (!posted) {  // the server is stopping
      MutexLock lock(&mu);
      residency.EndWork(component);
    }
  }
  Settle();
}

void AdapterStore::Impl::ResumeParked() {
  std::vector<JobPtr> resumed;
  {
    MutexLock lock(&mu);
    resumed = std::exchange(parked, {});
  }
  for (const JobPtr& job : resumed) {
    if (!loads->Post([this, job] { RunLoad(job); })) FinishLoad(job, Cancelled("the server is stopping"));
  }
}

void AdapterStore::Impl::RefreshWanted() {
  std::vector<ComponentId> components;
  std::set<ComponentId> seen;
  const auto add = [&](const EntryPtr& entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (entry->serving == nullptr) return;
    for (const ComponentId component : entry->serving->components) {
      if (seen.insert(component).second) components.push_back(component);
    }
    TryIfNew(entry);
  };
  LookAtRoom();
  for (const EntryPtr& entry : kept) {
    if (entry->backoff.Left(clock.Now()) == Duration{}) add(entry);
  }
  for (const auto* names : {&wanted, &fresh}) {
    for (const std::string& name : *names) {
      const EntryPtr entry = catalogue.Find(name);
      if (entry != nullptr && entry->waiting > 0) add(entry);
    }
  }
  residency.SetWanted(components);
}

void AdapterStore::Impl::TryPinnedAgain() {
  MutexLock lock(&mu);
  for (const EntryPtr& entry : kept) {
    if (entry->backoff.failed() && entry->backoff.Left(clock.Now()) == Duration{}) return KickPump();
  }
}

void AdapterStore::Impl::NoteBlocked() {
  std::set<EntryPtr> now;
  for (const ComponentId component : residency.blocked()) now.insert(residency.owner(component));
  if (now == blocked) return;
  for (const EntryPtr& entry : blocked) entry->blocked = false;
  for (const EntryPtr& entry : now) entry->blocked = true;
  blocked = std::move(now);
  wake = true;
}

void AdapterStore::Impl::RunFetch(Residency::Work work) {
  work.evicted.clear();  // before what it made room for is taken
  {
    MutexLock lock(&mu);
    AdapterEntry& entry = *residency.owner(work.component);
    if (!entry.fetch_begun) entry.fetch_begun = clock.Now();
  }
  const absl::Status status =
      work.kind == Residency::Work::Kind::kRead ? ReadAgain(work.component) : Upload(work.component);
  {
    MutexLock lock(&mu);
    if (!status.ok()) FetchFailed(work.component, status);
    residency.EndWork(work.component);
    ApplyMoves();
    KickPump();
  }
  Settle();
}

absl::Status AdapterStore::Impl::ReadAgain(ComponentId component) {
  ComponentInfo info;
  {
    MutexLock lock(&mu);
    if (stopping) return Cancelled("the server is stopping");
    info = residency.info(component);
  }
  ASSIGN_OR_RETURN(ReadComponent read,
                   ReadComponentAgain(*disk, info, shape, options.max_file_bytes, options.base.get()));
  const uint64_t known = info.device_bytes;
  info.host_bytes = read.info.host_bytes;
  info.device_bytes = DeviceBytes(read.component, backend, shape);
  auto copy = std::make_shared<const HostComponent>(std::move(read.component));
  Residency::Evicted evicted;
  MutexLock lock(&mu);
  room_changed |= info.device_bytes != known;
  if (residency.FillHost(component, info, std::move(copy), &evicted)) return absl::OkStatus();
  return ResourceExhausted("{}: there is no host memory to read it", info.path);
}

absl::Status AdapterStore::Impl::Upload(ComponentId component) {
  Residency::HostCopy host;
  std::string path;
  {
    MutexLock lock(&mu);
    host = residency.host_copy(component);
    path = residency.info(component).path;
  }
  auto device = CopyToDevice(*host, backend, shape);
  host.reset();
  if (!device.ok()) return Annotate(device.status(), path);
  MutexLock lock(&mu);
  residency.FillDevice(component, *std::move(device));
  return absl::OkStatus();
}

void AdapterStore::Impl::FetchFailed(ComponentId component, const absl::Status& status) {
  const EntryPtr entry = residency.owner(component);
  entry->fetch_begun.reset();
  if (entry->serving == nullptr || !std::ranges::count(entry->serving->components, component)) return;
  FailServing(entry, status, absl::IsFailedPrecondition(status));
}

absl::Status AdapterStore::Impl::NotNow(const std::string& name, const absl::Status& why) {
  return Because(Unavailable("adapter '{}' cannot be loaded now: {}", name, std::string(why.message())),
                 "ADAPTER_NOT_READY");
}

void AdapterStore::Impl::FailServing(const EntryPtr& entry, const absl::Status& status, bool forever) {
  Log()->warn("adapter '{}' cannot be brought to the device: {}", entry->name, status.ToString());
  const std::string why(status.message());
  const absl::Status told =
      forever ? Because(FailedPrecondition("adapter '{}' is not there any more: {}", entry->name, why),
                        "ADAPTER_FAILED")
              : NotNow(entry->name, status);
  for (ClaimState* claim : entry->claims) {
    if (claim->bound == nullptr) End(*claim, told);
  }
  entry->backoff.Failed(clock.Now());
  const std::shared_ptr<Generation> lost = catalogue.FailServing(*entry, status, forever);
  if (lost == nullptr) return;
  entry->resident = false;
  ForgetPin(entry);
  DropIfUnused(*lost);
}

void AdapterStore::Impl::ApplyMoves() {
  for (const Residency::Move& move : residency.TakeMoves()) {
    if (move.owner != nullptr && move.owner->serving != nullptr) UpdateTier(*move.owner, move.evicted);
  }
}

void AdapterStore::Impl::UpdateTier(AdapterEntry& entry, bool evicted) {
  const Tier tier = TierOf(*entry.serving), before = entry.info.tier;
  entry.info.device_bytes = entry.info.host_bytes = 0;
  for (size_t i = 0; i < entry.serving->components.size(); ++i) {
    const ComponentInfo& info = residency.info(entry.serving->components[i]);
    entry.info.device_bytes += info.device_bytes;
    entry.info.host_bytes += info.host_bytes;
    if (!entry.info.components.empty()) entry.info.components[i].device_bytes = info.device_bytes;
  }
  entry.resident = MayRun(*entry.serving);
  if (tier == before) return;
  if (tier > before && entry.fetch_begun) {
    entry.info.load_seconds = Seconds(clock.Now() - *entry.fetch_begun);
    entry.info.error = absl::OkStatus();
  }
  if (tier == Tier::kDevice) {
    entry.fetch_begun.reset();
    entry.backoff.Worked();
    wake = true;
  }
  catalogue.Moved(entry, tier, evicted && tier < before ? AdapterChange::kEvicted : AdapterChange::kFetched);
}

Tier AdapterStore::Impl::TierOf(const Generation& generation) const {
  Tier lowest = Tier::kDevice;
  for (const ComponentId component : generation.components)
    lowest = std::min(lowest, residency.TierOf(component));
  return lowest;
}

void AdapterStore::Impl::End(ClaimState& claim, const absl::Status& why) {
  if (claim.ended) return;
  if (claim.bound == nullptr) --claim.entry->waiting;
  claim.why = why;
  claim.ended = true;
  wake = true;
}

void AdapterStore::Impl::DropIfUnused(const Generation& generation) {
  if (generation.serving || generation.bound > 0) return;
  for (const ComponentId component : generation.components) residency.Unrefer(component);
}

void AdapterStore::Impl::FinishUnload(const EntryPtr& entry) {
  if (entry->info.state != AdapterState::kUnloading || !entry->claims.empty()) return;
  if (entry->serving != nullptr) {
    const std::shared_ptr<Generation> last = std::exchange(entry->serving, nullptr);
    last->serving = false;
    entry->resident = false;
    DropIfUnused(*last);
  }
  if (entry->components > 0) return;  // CollectGarbage asks again
  catalogue.Gone(*entry);
  room_changed = true;
  UnloadIsOver(entry);
}

}  // namespace hydrad
