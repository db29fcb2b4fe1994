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
    if (job->reading == 0) {
      job->begin = clock.Now();
      job->reading = residency.Add(job->entry, {.path = job->path, .digest = {}});
      if (job->entry != nullptr) ++job->entry->pieces;
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

absl::StatusOr<std::vector<ReadPiece>> AdapterStore::Impl::Read(const LoadJob& job, AdapterInfo* info) {
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
  std::vector<ReadPiece> pieces = TakeApart(job.path, std::move(contents), job.options.lenient);
  for (ReadPiece& read : pieces) {
    read.info.device_bytes = DeviceBytes(read.piece, backend, shape);
    info->device_bytes += read.info.device_bytes;
    if (pieces.size() > 1) info->pieces.push_back(read.info);
  }
  if (info->device_bytes <= options.device_bytes) return pieces;
  return ResourceExhausted("{}: needs {} bytes on the device, where adapters have {}", job.path,
                           info->device_bytes, options.device_bytes);
}

absl::StatusOr<AdapterInfo> AdapterStore::Impl::ReadAndPublish(LoadJob& job) {
  AdapterInfo info;
  ASSIGN_OR_RETURN(std::vector<ReadPiece> pieces, Read(job, &info));
  if (job.validate) return info;
  {
    MutexLock lock(&mu);
    if (job.entry->info.pinned) RETURN_IF_ERROR(CheckPinsFit(job.entry, info.device_bytes));
  }
  RETURN_IF_ERROR(Place(job, std::move(pieces)));
  RETURN_IF_ERROR(TryLoaded(job));
  RETURN_IF_ERROR(RecordLoad(job, &info));
  MutexLock lock(&mu);
  return Publish(job, std::move(info));
}

absl::Status AdapterStore::Impl::Place(LoadJob& job, std::vector<ReadPiece> pieces) {
  {
    MutexLock lock(&mu);
    Share(job, pieces);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (job.pieces[i] != 0) pieces[i].piece = {};
  }
  Residency::Evicted evicted;
  {
    MutexLock lock(&mu);
    const absl::Status filled = FillHost(job, pieces, &evicted);
    ApplyMoves();
    RETURN_IF_ERROR(filled);
  }
  evicted.clear();
  for (const PieceId piece : job.added) RETURN_IF_ERROR(PutOnDevice(piece));
  return absl::OkStatus();
}

// A job counts as a generation of what it shares: that stays whatever becomes of the one that serves.
void AdapterStore::Impl::Share(LoadJob& job, std::vector<ReadPiece>& pieces) {
  for (const ReadPiece& read : pieces) {
    const PieceId piece = FindServing(job, read.info);
    job.infos.push_back(read.info);
    job.pieces.push_back(piece);
    if (piece == 0) continue;
    residency.Refer(piece);
    if (residency.TierOf(piece) != Tier::kDevice) continue;
    residency.Pin(piece);
    job.held.push_back(piece);
  }
}

// The same content, from wherever; 0 if there is none.
PieceId AdapterStore::Impl::FindServing(const LoadJob& job, const PieceInfo& info) {
  if (job.entry->serving == nullptr) return 0;
  for (const PieceId piece : job.entry->serving->pieces) {
    const PieceInfo& there = residency.info(piece);
    const bool taken = std::ranges::count(job.pieces, piece) > 0;
    if (!taken && there.kind == info.kind && there.digest == info.digest) return piece;
  }
  return 0;
}

// What has been read takes no more than was reserved for reading it.
absl::Status AdapterStore::Impl::FillHost(LoadJob& job, std::vector<ReadPiece>& pieces,
                                          Residency::Evicted* evicted) {
  residency.EndWork(std::exchange(job.reading, 0));
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (job.pieces[i] != 0) continue;
    const PieceInfo& info = pieces[i].info;
    job.pieces[i] = job.added.emplace_back(residency.Add(job.entry, info));
    ++job.entry->pieces;
    auto copy = std::make_shared<const AdapterPiece>(std::move(pieces[i].piece));
    if (residency.FillHost(job.pieces[i], info, std::move(copy), evicted)) continue;
    return ResourceExhausted("{}: needs {} bytes of host memory, where adapters have {}", info.path,
                             info.host_bytes, options.host_bytes);
  }
  return absl::OkStatus();
}

absl::Status AdapterStore::Impl::RecordLoad(LoadJob& job, AdapterInfo* info) {
  AdapterInfo wanted;
  {
    MutexLock lock(&mu);
    info->generation = registry.NextGeneration();
    for (const PieceId piece : job.added) residency.SetGeneration(piece, info->generation);
    for (size_t i = 0; i < info->pieces.size(); ++i) {
      info->pieces[i].generation = residency.info(job.pieces[i]).generation;
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

AdapterInfo AdapterStore::Impl::Publish(const LoadJob& job, AdapterInfo info) {
  AdapterEntry& entry = *job.entry;
  auto generation = std::make_shared<Generation>();
  generation->number = info.generation;
  generation->pieces = job.pieces;
  generation->tried = job.tried;
  for (size_t i = 0; i < job.pieces.size(); ++i) {
    residency.Refer(job.pieces[i]);
    residency.SetPlace(job.pieces[i], job.infos[i]);
  }
  info.tier = TierOf(*generation);
  info.load_seconds = Seconds(clock.Now() - job.begin);
  const auto replaced = registry.Publish(entry, std::move(generation), std::move(info));
  if (replaced != nullptr) {
    for (const PieceId old : replaced->pieces) residency.SetKept(old, false);
    DropIfUnused(*replaced);
  }
  Keep(job.entry, entry.info.pinned && CheckPinsFit(job.entry, DeviceBytesOf(entry))
                                           .ok());  // which it may have been before its files were lost
  room_changed = true;
  entry.backoff.Worked();
  entry.fetch_begun.reset();
  entry.resident = MayRun(*entry.serving);
  wake = true;
  return Registry::Snapshot(entry);
}

// Lets go of all that the load has held, which only a generation keeps.
void AdapterStore::Impl::EndLoad(LoadJob& job) {
  if (job.reading != 0) residency.EndWork(std::exchange(job.reading, 0));
  for (const PieceId piece : job.held) residency.Unpin(piece);
  for (const PieceId piece : job.pieces) {
    if (piece != 0 && !std::ranges::count(job.added, piece)) residency.Unrefer(piece);
  }
  for (const PieceId piece : job.added) residency.EndWork(piece);
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
    const bool begun = job->reading != 0 || !job->pieces.empty();
    EndLoad(*job);
    if (!result.ok() && job->entry != nullptr) {
      const double seconds = begun ? Seconds(clock.Now() - job->begin) : 0;
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
