// What operators ask of the store: load and validate.
#include <algorithm>
#include <utility>

#include "server/adapters/host_bytes.h"
#include "server/adapters/store_impl.h"
#include "server/base/log.h"

namespace hydrad {
namespace {

AdapterInfo Describe(const std::string& name, const PieceInfo& piece, const AdapterContents& contents) {
  AdapterInfo info;
  info.name = name;
  info.state = AdapterState::kUnloaded;
  info.path = piece.path;
  info.family = contents.family;
  info.digest = piece.digest;
  info.device_bytes = piece.device_bytes;
  info.host_bytes = piece.host_bytes;
  info.max_rank = contents.max_rank;
  info.experts = contents.experts;
  info.targets = contents.targets;
  for (const ExpertWeights& expert : contents.experts_by_name) info.expert_names.push_back(expert.name);
  return info;
}

// What a request id stands for.
std::string LoadInWords(const std::string& name, const std::string& path, const ChangeOptions& change) {
  return fmt::format("load {} {} {}", name, path, change.digest);
}

}  // namespace

void AdapterStore::Impl::StartLoad(JobPtr job) {
  if (!job->validate) {
    const std::string what = LoadInWords(job->name, job->path, job->options);
    if (const auto repeated = Repeated(job->options, what, job->name)) return job->done(*repeated);
  }
  absl::Status status = CheckAdapterName(job->name);
  if (status.ok()) status = CheckPath(job->path);
  if (status.ok()) {
    MutexLock lock(&mu);
    if (!job->validate) status = registry.MayLoad(job->name);
    // The job cannot overtake BeginLoad: it needs `mu` to begin.
    if (status.ok() && !loads->Submit([this, job] { RunLoad(job); })) {
      status = ResourceExhausted("{} loads are waiting already", options.max_queued_loads);
    }
    if (status.ok() && !job->validate) job->entry = registry.BeginLoad(job->name, job->path);
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
    if (job->piece == 0) {
      job->begin = clock.Now();
      job->piece = residency.Add(job->entry, job->path);
      if (job->entry != nullptr) ++job->entry->pieces;
    }
  }
  ASSIGN_OR_RETURN(const uint64_t bytes, HostBytesToRead(*disk, job->path, options.max_file_bytes));
  Residency::Evicted evicted;
  Residency::Room room;
  {
    MutexLock lock(&mu);
    room = residency.ReserveHost(job->piece, bytes, &evicted);
    if (room == Residency::Room::kLater) parked.push_back(job);
    ApplyMoves();
  }
  if (room == Residency::Room::kNever) {
    return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", job->path, bytes,
                             options.host_bytes);
  }
  return room == Residency::Room::kYes;
}

absl::StatusOr<AdapterContents> AdapterStore::Impl::Read(const std::string& path, const std::string& digest,
                                                         PieceInfo* info) {
  ASSIGN_OR_RETURN(AdapterContents contents,
                   ReadAdapter(*disk, path, shape, options.max_file_bytes, options.base.get()));
  if (!digest.empty() && contents.digest != digest) {
    return FailedPrecondition("{}: the files have the digest {}, not {}", path, contents.digest, digest);
  }
  *info = {path, contents.digest, contents.host_bytes, DeviceBytes(contents, backend, shape)};
  if (info->device_bytes > options.device_bytes) {
    return ResourceExhausted("{}: needs {} bytes on the device, where adapters have {}", path,
                             info->device_bytes, options.device_bytes);
  }
  return contents;
}

absl::StatusOr<AdapterInfo> AdapterStore::Impl::ReadAndPublish(const LoadJob& job) {
  PieceInfo piece;
  ASSIGN_OR_RETURN(AdapterContents contents, Read(job.path, job.options.digest, &piece));
  AdapterInfo info = Describe(job.name, piece, contents);
  if (job.validate) return info;
  bool shared = false;
  {
    MutexLock lock(&mu);
    shared = ServesAlready(job, piece);
  }
  if (!shared) RETURN_IF_ERROR(Place(job.piece, piece, std::move(contents)));
  RETURN_IF_ERROR(RecordLoad(job, &info));
  MutexLock lock(&mu);
  if (!shared) return Publish(job, job.piece, std::move(info));
  if (!ServesAlready(job, piece)) {  // it was lost meanwhile, and is found where it was read from
    ++job.entry->pieces;
    return Publish(job, residency.AddKnown(job.entry, piece), std::move(info));
  }
  residency.SetPath(job.entry->serving->pieces.front(), piece.path);
  return Publish(job, job.entry->serving->pieces.front(), std::move(info));
}

absl::Status AdapterStore::Impl::Place(PieceId id, const PieceInfo& info, AdapterContents contents) {
  auto copy = std::make_shared<const AdapterContents>(std::move(contents));
  Residency::Evicted evicted;
  {
    MutexLock lock(&mu);
    if (!residency.FillHost(id, info, std::move(copy), &evicted)) {
      return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", info.path,
                               info.host_bytes, options.host_bytes);
    }
    ApplyMoves();
  }
  evicted.clear();
  return PutOnDevice(id);
}

absl::Status AdapterStore::Impl::RecordLoad(const LoadJob& job, AdapterInfo* info) {
  AdapterInfo wanted = *info;
  {
    MutexLock lock(&mu);
    wanted.generation = info->generation = registry.NextGeneration();
    wanted.pinned = job.entry->info.pinned;
  }
  JournalRecord record;
  if (job.options.record) record.wanted = std::move(wanted);
  record.generation = info->generation;
  return Record(
      std::move(record), job.options.request_id,
      {job.options.request_id, LoadInWords(job.name, job.path, job.options), job.name, info->generation});
}

// The same content again, from wherever: a new generation, of the piece that is there.
bool AdapterStore::Impl::ServesAlready(const LoadJob& job, const PieceInfo& info) {
  const auto& serving = job.entry->serving;
  if (serving == nullptr || serving->pieces.size() != 1) return false;
  const PieceId piece = serving->pieces.front();
  return residency.info(piece).digest == info.digest;
}

// If there is room for it. What is not on the device is brought there when somebody asks for it.
absl::Status AdapterStore::Impl::PutOnDevice(PieceId piece) {
  Residency::Evicted evicted;
  {
    MutexLock lock(&mu);
    const Residency::Room room = residency.ReserveDevice(piece, &evicted);
    ApplyMoves();
    if (room != Residency::Room::kYes) return absl::OkStatus();
  }
  evicted.clear();
  return Upload(piece);
}

AdapterInfo AdapterStore::Impl::Publish(const LoadJob& job, PieceId piece, AdapterInfo info) {
  AdapterEntry& entry = *job.entry;
  auto generation = std::make_shared<Generation>();
  generation->number = info.generation;
  generation->pieces = {piece};
  residency.Refer(piece);
  info.tier = TierOf(*generation);
  info.load_seconds = Seconds(clock.Now() - job.begin);
  const auto replaced = registry.Publish(entry, std::move(generation), std::move(info));
  if (replaced != nullptr) {
    for (const PieceId old : replaced->pieces) residency.SetKept(old, false);
    DropIfUnused(*replaced);
  }
  entry.kept = entry.info.pinned;  // which it may have been before its files were lost
  if (entry.kept) kept.insert(job.entry);
  residency.SetKept(piece, entry.kept);
  entry.fetch_failed = false;
  entry.fetch_begun.reset();
  entry.resident = entry.info.tier == Tier::kDevice;
  wake = true;
  return Registry::Snapshot(entry);
}

void AdapterStore::Impl::FinishLoad(const JobPtr& job, const absl::StatusOr<AdapterInfo>& result) {
  if (!result.ok()) {
    Log()->warn("adapter '{}': {} failed: {}", job->name, job->validate ? "validation" : "load",
                result.status().ToString());
  }
  {
    MutexLock lock(&mu);
    if (job->piece != 0) residency.EndWork(job->piece);
    if (!result.ok() && job->entry != nullptr) {
      const double seconds = job->piece != 0 ? Seconds(clock.Now() - job->begin) : 0;
      registry.FailLoad(*job->entry, result.status(), seconds);
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
