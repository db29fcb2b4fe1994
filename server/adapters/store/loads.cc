#include "server/adapters/store/loads.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "server/base/log.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// What a request id stands for.
std::string InWords(const std::string& name, const std::string& path, const ChangeOptions& change) {
  return fmt::format("load {} {} {}{}", name, path, change.digest, change.lenient ? " lenient" : "");
}

}  // namespace

void Loads::Start(const std::string& name, const std::string& path, AdapterStore::Done done,
                  ChangeOptions change, bool validate) {
  const auto job = std::make_shared<Job>(Job{name, path, std::move(change), std::move(done), validate});
  absl::Status status = CheckAdapterName(job->name);
  if (absl::StatusOr<std::string> located = rooms_.reader.Locate(job->path); located.ok()) {
    job->path = *std::move(located);
  } else if (status.ok()) {
    status = located.status();
  }
  if (status.ok() && !job->validate) {
    const std::string what = InWords(job->name, job->path, job->change);
    const auto before = AnsweredBefore(rooms_.records, state_, job->change.request_id, what, job->name);
    if (before) return job->done(*before);
  }
  if (status.ok()) status = Begin(job);
  if (!status.ok()) return job->done(status);
  rooms_.notifier.DeliverEvents();
}

absl::Status Loads::Begin(const JobPtr& job) {
  MutexLock lock(&state_.mu);
  if (!job->validate) RETURN_IF_ERROR(state_.catalogue.MayLoad(job->name));
  // The job cannot overtake BeginLoad: it needs the lock to begin.
  if (!rooms_.executor.Submit([this, job] { Run(job); })) {
    return ResourceExhausted("{} loads are waiting already", rooms_.options.max_queued_loads);
  }
  if (!job->validate) job->entry = state_.catalogue.BeginLoad(job->name, job->path);
  return absl::OkStatus();
}

void Loads::Run(const JobPtr& job) {
  const absl::StatusOr<bool> room = ReserveForReading(job);
  if (!room.ok()) return Finish(job, room.status());
  if (*room) Finish(job, ReadAndPublish(*job));
}

absl::StatusOr<bool> Loads::ReserveForReading(const JobPtr& job) {
  {
    MutexLock lock(&state_.mu);
    if (state_.stopping) return Cancelled("the server is stopping");
    if (job->reading == 0) {
      job->begin = state_.clock.Now();
      job->reading = state_.residency.Add(job->entry, {.path = job->path, .digest = {}});
      if (job->entry != nullptr) ++job->entry->components;
    }
  }
  ASSIGN_OR_RETURN(const uint64_t bytes, rooms_.reader.BytesToRead(job->path));
  Residency::Evicted evicted;
  Residency::Room room;
  {
    MutexLock lock(&state_.mu);
    room = state_.residency.ReserveHost(job->reading, bytes, &evicted);
    if (room == Residency::Room::kLater) waiting_.push_back(job);
    state_.generations.NoteMoves();
  }
  if (room == Residency::Room::kNever) {
    return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", job->path, bytes,
                             rooms_.options.host_bytes);
  }
  return room == Residency::Room::kYes;
}

absl::StatusOr<AdapterInfo> Loads::ReadAndPublish(Job& job) {
  ASSIGN_OR_RETURN(AdapterReader::Adapter read, rooms_.reader.Read(job.name, job.path, job.change));
  if (job.validate) return read.info;
  {
    MutexLock lock(&state_.mu);
    if (job.entry->info.pinned) {
      RETURN_IF_ERROR(state_.room.CheckPinFits(job.entry, read.info.device_bytes));
    }
  }
  RETURN_IF_ERROR(Place(job, std::move(read.components)));
  RETURN_IF_ERROR(Try(job));
  RETURN_IF_ERROR(Record(job, &read.info));
  MutexLock lock(&state_.mu);
  return Publish(job, std::move(read.info));
}

absl::Status Loads::Place(Job& job, std::vector<LoadedComponent> loaded) {
  {
    MutexLock lock(&state_.mu);
    Share(job, loaded);
  }
  for (size_t i = 0; i < loaded.size(); ++i) {
    if (job.components[i] != 0) loaded[i].component = {};
  }
  Residency::Evicted evicted;
  {
    MutexLock lock(&state_.mu);
    const absl::Status filled = FillHost(job, loaded, &evicted);
    state_.generations.NoteMoves();
    RETURN_IF_ERROR(filled);
  }
  evicted.clear();
  for (const ComponentId component : job.added) RETURN_IF_ERROR(UploadIfRoom(component));
  return absl::OkStatus();
}

// A job counts as a generation of what it shares: that stays whatever becomes of the one that serves.
void Loads::Share(Job& job, std::vector<LoadedComponent>& loaded) {
  for (const LoadedComponent& read : loaded) {
    const ComponentId component = FindServing(job, read.info);
    job.infos.push_back(read.info);
    job.components.push_back(component);
    if (component == 0) continue;
    state_.residency.Refer(component);
    if (state_.residency.TierOf(component) != Tier::kDevice) continue;
    state_.residency.Hold(component);
    job.held.push_back(component);
  }
}

// The component with the same content, from wherever; 0 if there is none.
ComponentId Loads::FindServing(const Job& job, const ComponentInfo& info) {
  if (job.entry->serving == nullptr) return 0;
  for (const ComponentId component : job.entry->serving->components) {
    const ComponentInfo& there = state_.residency.info(component);
    const bool taken = std::ranges::count(job.components, component) > 0;
    if (!taken && there.kind == info.kind && there.digest == info.digest) return component;
  }
  return 0;
}

// What has been read takes no more than was reserved for reading it.
absl::Status Loads::FillHost(Job& job, std::vector<LoadedComponent>& loaded, Residency::Evicted* evicted) {
  state_.residency.EndWork(std::exchange(job.reading, 0));
  for (size_t i = 0; i < loaded.size(); ++i) {
    if (job.components[i] != 0) continue;
    const ComponentInfo& info = loaded[i].info;
    job.components[i] = job.added.emplace_back(state_.residency.Add(job.entry, info));
    ++job.entry->components;
    auto copy = std::make_shared<const HostComponent>(std::move(loaded[i].component));
    if (state_.residency.FillHost(job.components[i], info, std::move(copy), evicted)) continue;
    return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", info.path,
                             info.host_bytes, rooms_.options.host_bytes);
  }
  return absl::OkStatus();
}

// A component that finds no room is fetched when somebody asks for it.
absl::Status Loads::UploadIfRoom(ComponentId component) {
  Residency::Evicted evicted;
  {
    MutexLock lock(&state_.mu);
    const Residency::Room room = state_.residency.ReserveDevice(component, &evicted);
    state_.generations.NoteMoves();
    if (room != Residency::Room::kYes) return absl::OkStatus();
  }
  evicted.clear();
  return rooms_.mover.Upload(component);
}

// Tries what has been read if all of it has found room on the device. Else it is tried when it is fetched.
absl::Status Loads::Try(Job& job) {
  if (!rooms_.options.try_out) return absl::OkStatus();
  std::shared_ptr<const AdapterGeneration> whole;
  {
    MutexLock lock(&state_.mu);
    const Generation* serving = job.entry->serving.get();
    job.tried = job.added.empty() && serving != nullptr && serving->tried;  // the same content again
    if (job.tried || !state_.generations.OnDevice(job.components)) return absl::OkStatus();
    std::vector<Residency::DeviceCopy> copies;
    for (const ComponentId component : job.components) copies.push_back(state_.residency.Hold(component));
    whole = state_.generations.Assemble(job.name, 0, copies);
  }
  const absl::Status status = rooms_.options.try_out(whole);
  whole.reset();
  MutexLock lock(&state_.mu);
  for (const ComponentId component : job.components) state_.residency.Release(component);
  job.tried = status.ok();
  return Annotate(status, job.path);
}

absl::Status Loads::Record(Job& job, AdapterInfo* info) {
  AdapterInfo wanted;
  {
    MutexLock lock(&state_.mu);
    info->generation = state_.catalogue.NextGeneration();
    for (const ComponentId component : job.added) {
      state_.residency.SetGeneration(component, info->generation);
    }
    for (size_t i = 0; i < info->components.size(); ++i) {
      info->components[i].generation = state_.residency.info(job.components[i]).generation;
    }
    wanted = *info;
    wanted.pinned = job.entry->info.pinned;
  }
  JournalRecord record;
  if (job.change.record) record.wanted = std::move(wanted);
  record.generation = info->generation;
  return rooms_.records.Record(
      std::move(record),
      {job.change.request_id, InWords(job.name, job.path, job.change), job.name, info->generation});
}

AdapterInfo Loads::Publish(const Job& job, AdapterInfo info) {
  AdapterEntry& entry = *job.entry;
  auto generation = std::make_shared<Generation>();
  generation->number = info.generation;
  generation->components = job.components;
  generation->tried = job.tried;
  for (size_t i = 0; i < job.components.size(); ++i) {
    state_.residency.Refer(job.components[i]);
    state_.residency.SetPlace(job.components[i], job.infos[i]);
  }
  info.tier = state_.generations.TierOf(*generation);
  info.load_seconds = Seconds(state_.clock.Now() - job.begin);
  const auto replaced = state_.catalogue.Publish(entry, std::move(generation), std::move(info));
  if (replaced != nullptr) {
    for (const ComponentId old : replaced->components) state_.residency.SetKept(old, false);
    state_.generations.Retire(*replaced);
  }
  // It may have been pinned before its files were lost.
  const bool keep =
      entry.info.pinned && state_.room.CheckPinFits(job.entry, state_.generations.DeviceBytesOf(entry)).ok();
  state_.room.Keep(job.entry, keep);
  state_.room.NoteChange();
  entry.backoff.Worked();
  entry.fetch_begun.reset();
  entry.ready = state_.generations.MayRun(*entry.serving);
  state_.catalogue.WakeRequests();
  return Catalogue::Snapshot(entry);
}

// Gives up all that the load has held: from now on only a generation keeps it.
void Loads::ReleaseAll(Job& job) {
  Residency& residency = state_.residency;
  if (job.reading != 0) residency.EndWork(std::exchange(job.reading, 0));
  for (const ComponentId component : job.held) residency.Release(component);
  for (const ComponentId component : job.components) {
    if (component != 0 && !std::ranges::count(job.added, component)) residency.Unrefer(component);
  }
  for (const ComponentId component : job.added) residency.EndWork(component);
}

void Loads::Finish(const JobPtr& job, const absl::StatusOr<AdapterInfo>& result) {
  if (result.ok()) {
    for (const std::string& warning : result->warnings) Log()->warn("adapter '{}': {}", job->name, warning);
  } else {
    Log()->warn("adapter '{}': {} failed: {}", job->name, job->validate ? "validation" : "load",
                result.status().ToString());
  }
  {
    MutexLock lock(&state_.mu);
    const bool begun = job->reading != 0 || !job->components.empty();
    ReleaseAll(*job);
    if (!result.ok() && job->entry != nullptr) {
      const double seconds = begun ? Seconds(state_.clock.Now() - job->begin) : 0;
      state_.catalogue.FailLoad(*job->entry, result.status(), seconds);
    }
    state_.generations.NoteMoves();
  }
  rooms_.notifier.Settle();
  rooms_.fetcher.Schedule();
  job->done(result);
}

std::vector<Loads::JobPtr> Loads::TakeWaiting() {
  MutexLock lock(&state_.mu);
  return std::exchange(waiting_, {});
}

void Loads::Resume() {
  for (const JobPtr& job : TakeWaiting()) {
    if (rooms_.executor.Post([this, job] { Run(job); })) continue;
    Finish(job, Cancelled("the server is stopping"));
  }
}

void Loads::CancelWaiting() {
  for (const JobPtr& job : TakeWaiting()) Finish(job, Cancelled("the server is stopping"));
}

}  // namespace hydrad
