// What operators ask of the store: load and validate.
#include <algorithm>
#include <utility>

#include "server/adapters/formats/base_name.h"
#include "server/adapters/formats/host_bytes.h"
#include "server/adapters/store/store_impl.h"
#include "server/base/log.h"

namespace hydrad {
namespace {

AdapterInfo Describe(const std::string& name, const std::string& path, const AdapterContents& contents) {
  AdapterInfo info;
  info.name = name;
  info.state = AdapterState::kUnloaded;
  info.path = path;
  info.family = contents.family;
  info.digest = contents.digest;
  info.host_bytes = contents.host_bytes;
  info.max_rank = contents.max_rank;
  info.experts = contents.experts;
  info.targets = contents.targets;
  for (const ExpertWeights& expert : contents.experts_by_name) info.expert_names.push_back(expert.name);
  info.warnings = contents.warnings;
  return info;
}

// What a request id stands for.
std::string LoadInWords(const std::string& name, const std::string& path, const ChangeOptions& change) {
  return fmt::format("load {} {} {}{}", name, path, change.digest, change.lenient ? " lenient" : "");
}

}  // namespace

void AdapterStore::Impl::StartLoad(JobPtr job) {
  absl::Status status = CheckAdapterName(job->name);
  if (absl::StatusOr<std::string> path = disk->Locate(job->path); path.ok()) {
    job->path = *std::move(path);
  } else if (status.ok()) {
    status = path.status();
  }
  if (status.ok() && !job->validate) {
    const std::string what = LoadInWords(job->name, job->path, job->options);
    if (const auto repeated = Repeated(job->options, what, job->name)) return job->done(*repeated);
  }
  if (status.ok()) {
    MutexLock lock(&mu);
    if (!job->validate) status = catalogue.MayLoad(job->name);
    // The job cannot overtake BeginLoad: it needs `mu` to begin.
    if (status.ok() && !loads->Submit([this, job] { RunLoad(job); })) {
      status = ResourceExhausted("{} loads are waiting already", options.max_queued_loads);
    }
    if (status.ok() && !job->validate) job->entry = catalogue.BeginLoad(job->name, job->path);
  }
  if (!status.ok()) return job->done(status);
  DeliverEvents();
}

void AdapterStore::Impl::RunLoad(const JobPtr& job) {
  const absl::StatusOr<bool> room = ReserveForReading(job);
  if (!room.ok()) return FinishLoad(job, room.status());
  if (*room) FinishLoad(job, ReadAndPublish(*job));
}

// False: there is no host memory to read it into now; the load is parked and begins anew when some comes
// free.
absl::StatusOr<bool> AdapterStore::Impl::ReserveForReading(const JobPtr& job) {
  {
    MutexLock lock(&mu);
    if (stopping) return Cancelled("the server is stopping");
    if (job->reading == 0) {
      job->begin = clock.Now();
      job->reading = residency.Add(job->entry, {.path = job->path, .digest = {}});
      if (job->entry != nullptr) ++job->entry->components;
    }
  }
  ASSIGN_OR_RETURN(const uint64_t bytes, HostBytesToRead(*disk, job->path, options.max_file_bytes));
  Residency::Evicted evicted;
  Residency::Room room;
  {
    MutexLock lock(&mu);
    room = residency.ReserveHost(job->reading, bytes, &evicted);
    if (room == Residency::Room::kLater) parked.push_back(job);
    ApplyMoves();
  }
  if (room == Residency::Room::kNever) {
    return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", job->path, bytes,
                             options.host_bytes);
  }
  return room == Residency::Room::kYes;
}

absl::StatusOr<std::vector<ReadComponent>> AdapterStore::Impl::Read(const LoadJob& job, AdapterInfo* info) {
  ASSIGN_OR_RETURN(AdapterContents contents, ReadAdapter(*disk, job.path, shape, options.max_file_bytes,
                                                         options.base.get(), job.options.lenient));
  if (!job.options.digest.empty() && contents.digest != job.options.digest) {
    return FailedPrecondition("{}: the files have the digest {}, not {}", job.path, contents.digest,
                              job.options.digest);
  }
  *info = Describe(job.name, job.path, contents);
  info->lenient = job.options.lenient;
  if (!IsNameOf(options.base_names, contents.base_model)) {
    info->warnings.push_back(fmt::format("its config names the base model '{}'; this is '{}'",
                                         contents.base_model, options.base_names.front()));
  }
  std::vector<ReadComponent> components = TakeApart(job.path, std::move(contents), job.options.lenient);
  for (ReadComponent& read : components) {
    read.info.device_bytes = DeviceBytes(read.component, backend, shape);
    info->device_bytes += read.info.device_bytes;
    if (components.size() > 1) info->components.push_back(read.info);
  }
  if (info->device_bytes <= options.device_bytes) return components;
  return ResourceExhausted("{}: needs {} bytes on the device, where adapters have {}", job.path,
                           info->device_bytes, options.device_bytes);
}

absl::StatusOr<AdapterInfo> AdapterStore::Impl::ReadAndPublish(LoadJob& job) {
  AdapterInfo info;
  ASSIGN_OR_RETURN(std::vector<ReadComponent> components, Read(job, &info));
  if (job.validate) return info;
  {
    MutexLock lock(&mu);
    if (job.entry->info.pinned) RETURN_IF_ERROR(CheckPinsFit(job.entry, info.device_bytes));
  }
  RETURN_IF_ERROR(Place(job, std::move(components)));
  RETURN_IF_ERROR(TryLoaded(job));
  RETURN_IF_ERROR(RecordLoad(job, &info));
  MutexLock lock(&mu);
  return Publish(job, std::move(info));
}

absl::Status AdapterStore::Impl::Place(LoadJob& job, std::vector<ReadComponent> components) {
  {
    MutexLock lock(&mu);
    Share(job, components);
  }
  for (size_t i = 0; i < components.size(); ++i) {
    if (job.components[i] != 0) components[i].component = {};
  }
  Residency::Evicted evicted;
  {
    MutexLock lock(&mu);
    const absl::Status filled = FillHost(job, components, &evicted);
    ApplyMoves();
    RETURN_IF_ERROR(filled);
  }
  evicted.clear();
  for (const ComponentId component : job.added) RETURN_IF_ERROR(PutOnDevice(component));
  return absl::OkStatus();
}

// A job counts as a generation of what it shares: that stays whatever becomes of the one that serves.
void AdapterStore::Impl::Share(LoadJob& job, std::vector<ReadComponent>& components) {
  for (const ReadComponent& read : components) {
    const ComponentId component = FindServing(job, read.info);
    job.infos.push_back(read.info);
    job.components.push_back(component);
    if (component == 0) continue;
    residency.Refer(component);
    if (residency.TierOf(component) != Tier::kDevice) continue;
    residency.Hold(component);
    job.held.push_back(component);
  }
}

// The same content, from wherever; 0 if there is none.
ComponentId AdapterStore::Impl::FindServing(const LoadJob& job, const ComponentInfo& info) {
  if (job.entry->serving == nullptr) return 0;
  for (const ComponentId component : job.entry->serving->components) {
    const ComponentInfo& there = residency.info(component);
    const bool taken = std::ranges::count(job.components, component) > 0;
    if (!taken && there.kind == info.kind && there.digest == info.digest) return component;
  }
  return 0;
}

// What has been read takes no more than was reserved for reading it.
absl::Status AdapterStore::Impl::FillHost(LoadJob& job, std::vector<ReadComponent>& components,
                                          Residency::Evicted* evicted) {
  residency.EndWork(std::exchange(job.reading, 0));
  for (size_t i = 0; i < components.size(); ++i) {
    if (job.components[i] != 0) continue;
    const ComponentInfo& info = components[i].info;
    job.components[i] = job.added.emplace_back(residency.Add(job.entry, info));
    ++job.entry->components;
    auto copy = std::make_shared<const HostComponent>(std::move(components[i].component));
    if (residency.FillHost(job.components[i], info, std::move(copy), evicted)) continue;
    return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", info.path,
                             info.host_bytes, options.host_bytes);
  }
  return absl::OkStatus();
}

absl::Status AdapterStore::Impl::RecordLoad(LoadJob& job, AdapterInfo* info) {
  AdapterInfo wanted;
  {
    MutexLock lock(&mu);
    info->generation = catalogue.NextGeneration();
    for (const ComponentId component : job.added) residency.SetGeneration(component, info->generation);
    for (size_t i = 0; i < info->components.size(); ++i) {
      info->components[i].generation = residency.info(job.components[i]).generation;
    }
    wanted = *info;
    wanted.pinned = job.entry->info.pinned;
  }
  JournalRecord record;
  if (job.options.record) record.wanted = std::move(wanted);
  record.generation = info->generation;
  return Record(
      std::move(record), job.options.request_id,
      {job.options.request_id, LoadInWords(job.name, job.path, job.options), job.name, info->generation});
}

// If there is room for it. What is not on the device is brought there when somebody asks for it.
absl::Status AdapterStore::Impl::PutOnDevice(ComponentId component) {
  Residency::Evicted evicted;
  {
    MutexLock lock(&mu);
    const Residency::Room room = residency.ReserveDevice(component, &evicted);
    ApplyMoves();
    if (room != Residency::Room::kYes) return absl::OkStatus();
  }
  evicted.clear();
  return Upload(component);
}

AdapterInfo AdapterStore::Impl::Publish(const LoadJob& job, AdapterInfo info) {
  AdapterEntry& entry = *job.entry;
  auto generation = std::make_shared<Generation>();
  generation->number = info.generation;
  generation->components = job.components;
  generation->tried = job.tried;
  for (size_t i = 0; i < job.components.size(); ++i) {
    residency.Refer(job.components[i]);
    residency.SetPlace(job.components[i], job.infos[i]);
  }
  info.tier = TierOf(*generation);
  info.load_seconds = Seconds(clock.Now() - job.begin);
  const auto replaced = catalogue.Publish(entry, std::move(generation), std::move(info));
  if (replaced != nullptr) {
    for (const ComponentId old : replaced->components) residency.SetKept(old, false);
    DropIfUnused(*replaced);
  }
  Keep(job.entry, entry.info.pinned && CheckPinsFit(job.entry, DeviceBytesOf(entry))
                                           .ok());  // which it may have been before its files were lost
  room_changed = true;
  entry.backoff.Worked();
  entry.fetch_begun.reset();
  entry.resident = MayRun(*entry.serving);
  wake = true;
  return Catalogue::Snapshot(entry);
}

// Lets go of all that the load has held, which only a generation keeps.
void AdapterStore::Impl::EndLoad(LoadJob& job) {
  if (job.reading != 0) residency.EndWork(std::exchange(job.reading, 0));
  for (const ComponentId component : job.held) residency.Release(component);
  for (const ComponentId component : job.components) {
    if (component != 0 && !std::ranges::count(job.added, component)) residency.Unrefer(component);
  }
  for (const ComponentId component : job.added) residency.EndWork(component);
}

void AdapterStore::Impl::FinishLoad(const JobPtr& job, const absl::StatusOr<AdapterInfo>& result) {
  if (result.ok()) {
    for (const std::string& warning : result->warnings) Log()->warn("adapter '{}': {}", job->name, warning);
  } else {
    Log()->warn("adapter '{}': {} failed: {}", job->name, job->validate ? "validation" : "load",
                result.status().ToString());
  }
  {
    MutexLock lock(&mu);
    const bool begun = job->reading != 0 || !job->components.empty();
    EndLoad(*job);
    if (!result.ok() && job->entry != nullptr) {
      const double seconds = begun ? Seconds(clock.Now() - job->begin) : 0;
      catalogue.FailLoad(*job->entry, result.status(), seconds);
    }
    ApplyMoves();
  }
  Settle();
  {
    MutexLock lock(&mu);
    KickPump();
  }
  job->done(result);
}

}  // namespace hydrad
