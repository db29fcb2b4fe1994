#include "server/adapters/store/residency.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace hydrad {

const char* Name(Tier tier) {
  switch (tier) {
    case Tier::kDisk:
      return "disk";
    case Tier::kHost:
      return "host";
    case Tier::kDevice:
      return "device";
  }
  return "unknown";
}

PieceId Residency::Add(Owner owner, PieceInfo info) {
  const PieceId id = ++last_id_;
  Piece& piece = pieces_[id];
  piece.owner = std::move(owner);
  piece.info = std::move(info);
  piece.working = true;
  return id;
}

PieceId Residency::AddKnown(Owner owner, PieceInfo info) {
  const PieceId id = Add(std::move(owner), std::move(info));
  Get(id).working = false;
  return id;
}

template <class Copy>
void Residency::Note(std::vector<typename ByteCache<Copy>::Evicted> gone, Evicted* evicted) {
  for (auto& [id, copy] : gone) {
    moves_[Get(id).owner] = true;
    evicted->push_back(std::move(copy));
  }
}

bool Residency::MayLeaveHost(PieceId id, size_t from) const {
  const Piece& piece = pieces_.at(id);
  return !piece.rank || device_.Find(id) != nullptr || *piece.rank >= from;
}

bool Residency::MayLeaveDevice(PieceId id, size_t from) const {
  const Piece& piece = pieces_.at(id);
  return !piece.kept && (!piece.rank || *piece.rank >= from);
}

// First without what anybody wants, then with what is less urgent.
bool Residency::ReserveHostFor(PieceId id, uint64_t bytes, size_t from, Evicted* evicted) {
  std::vector<ByteCache<HostCopy>::Evicted> gone;
  const auto unwanted = [this](PieceId p) { return MayLeaveHost(p, SIZE_MAX); };
  const auto less_wanted = [&](PieceId p) { return MayLeaveHost(p, from); };
  const auto reserve = [&](const auto& may_evict) {
    return host_.Has(id) ? host_.Resize(id, bytes, may_evict, &gone)
                         : host_.Reserve(id, bytes, may_evict, &gone);
  };
  const bool reserved = reserve(unwanted) || reserve(less_wanted);
  Note<HostCopy>(std::move(gone), evicted);
  return reserved;
}

// As above, the least urgent first.
bool Residency::ReserveDeviceFor(PieceId id, size_t from, Evicted* evicted) {
  std::vector<ByteCache<DeviceCopy>::Evicted> gone;
  const auto unwanted = [this](PieceId p) { return MayLeaveDevice(p, SIZE_MAX); };
  const uint64_t bytes = Get(id).info.device_bytes;
  bool reserved = device_.Reserve(id, bytes, unwanted, &gone);
  for (size_t least = wanted_.size(); !reserved && least > from;) {
    if (device_.Find(wanted_[--least]) == nullptr) continue;
    const auto less_wanted = [&](PieceId p) { return MayLeaveDevice(p, least); };
    reserved = device_.Reserve(id, bytes, less_wanted, &gone);
  }
  Note<DeviceCopy>(std::move(gone), evicted);
  return reserved;
}

Residency::Room Residency::ReserveHost(PieceId id, uint64_t bytes, Evicted* evicted) {
  if (bytes > host_.capacity()) return Room::kNever;
  return ReserveHostFor(id, bytes, 0, evicted) ? Room::kYes : Room::kLater;
}

bool Residency::FillHost(PieceId id, PieceInfo info, HostCopy copy, Evicted* evicted) {
  Piece& piece = Get(id);
  if (!ReserveHostFor(id, info.host_bytes, piece.rank ? *piece.rank + 1 : 0, evicted)) return false;
  piece.info = std::move(info);
  host_.Fill(id, std::move(copy));
  host_.Pin(id);
  piece.host_pinned = true;
  moves_.try_emplace(piece.owner, false);
  return true;
}

Residency::Room Residency::ReserveDevice(PieceId id, Evicted* evicted) {
  if (Get(id).info.device_bytes > device_.capacity()) return Room::kNever;
  return ReserveDeviceFor(id, wanted_.size(), evicted) ? Room::kYes : Room::kLater;
}

void Residency::FillDevice(PieceId id, DeviceCopy copy) {
  device_.Fill(id, std::move(copy));
  moves_.try_emplace(Get(id).owner, false);
}

void Residency::EndWork(PieceId id) {
  Piece& piece = Get(id);
  HYDRAD_CHECK(piece.working);
  piece.working = false;
  if (std::exchange(piece.fetching, false)) --fetches_;
  if (std::exchange(piece.host_pinned, false)) host_.Unpin(id);
  if (host_.Has(id) && host_.Find(id) == nullptr) host_.Free(id);
  if (device_.Has(id) && device_.Find(id) == nullptr) device_.Free(id);
  CollectIfUnused(id, piece);
}

void Residency::Refer(PieceId id) { ++Get(id).generations; }

void Residency::Unrefer(PieceId id) {
  Piece& piece = Get(id);
  HYDRAD_CHECK(piece.generations > 0);
  --piece.generations;
  CollectIfUnused(id, piece);
}

void Residency::CollectIfUnused(PieceId id, Piece& piece) {
  if (piece.generations > 0 || piece.working) return;
  Garbage garbage{id, piece.owner, {}};
  if (host_.Find(id) != nullptr) garbage.values.push_back(host_.Take(id));
  if (device_.Find(id) != nullptr) garbage.values.push_back(device_.Take(id));
  garbage_.push_back(std::move(garbage));
}

void Residency::Free(PieceId id) {
  if (host_.Has(id)) host_.Free(id);
  if (device_.Has(id)) device_.Free(id);
  std::erase(wanted_, id);
  blocked_.erase(id);
  pieces_.erase(id);
}

Residency::DeviceCopy Residency::Pin(PieceId id) {
  device_.Pin(id);
  return *device_.Find(id);
}

void Residency::SetWanted(const std::vector<PieceId>& pieces) {
  for (const PieceId id : wanted_) Get(id).rank.reset();
  wanted_ = pieces;
  for (size_t rank = 0; rank < wanted_.size(); ++rank) Get(wanted_[rank]).rank = rank;
}

std::optional<Residency::Work> Residency::Next() {
  host_waits_ = device_waits_ = false;
  if (fetches_ >= max_fetches_) {  // what was blocked is, but for what has gone
    std::erase_if(blocked_, [this](PieceId p) { return !Get(p).rank || device_.Has(p); });
    return std::nullopt;
  }
  blocked_.clear();
  for (size_t rank = 0; rank < wanted_.size(); ++rank) {
    const PieceId id = wanted_[rank];
    const Piece& piece = Get(id);
    if (piece.working || piece.generations == 0 || device_.Find(id) != nullptr) continue;
    if (std::optional<Work> work = Try(id, rank)) return work;
  }
  if (!host_waits_) host_line_.NobodyWaits();
  if (!device_waits_) device_line_.NobodyWaits();
  return std::nullopt;
}

std::optional<Residency::Work> Residency::Try(PieceId id, size_t rank) {
  if (host_.Find(id) == nullptr) return TryToRead(id, rank);
  Evicted evicted;
  if ((!device_waits_ || device_line_.MayPass()) && ReserveDeviceFor(id, rank + 1, &evicted)) {
    return Begin(Work::Kind::kUpload, id, std::move(evicted));
  }
  blocked_.insert(id);
  WaitForDevice(id, rank);
  return std::nullopt;
}

std::optional<Residency::Work> Residency::TryToRead(PieceId id, size_t rank) {
  const PieceInfo& info = Get(id).info;
  const uint64_t bytes = std::max(info.host_bytes, info.reading_bytes);
  Evicted evicted;
  if ((!host_waits_ || host_line_.MayPass()) && ReserveHostFor(id, bytes, rank + 1, &evicted)) {
    return Begin(Work::Kind::kRead, id, std::move(evicted));
  }
  WaitForHost(id, bytes, rank);
  return std::nullopt;
}

void Residency::WaitForHost(PieceId id, uint64_t bytes, size_t rank) {
  if (std::exchange(host_waits_, true)) return;
  std::vector<RoomLine::Taken> taken;
  host_.ForEach([&](PieceId p, uint64_t size, bool idle) {
    const auto at = Get(p).rank;
    taken.push_back({p, size, idle && MayLeaveHost(p, rank + 1), !at || *at > rank});
  });
  host_line_.Waits(id, bytes, host_.capacity(), taken);
}

void Residency::WaitForDevice(PieceId id, size_t rank) {
  if (std::exchange(device_waits_, true)) return;
  std::vector<RoomLine::Taken> taken;
  device_.ForEach([&](PieceId p, uint64_t size, bool idle) {
    const Piece& piece = Get(p);
    const bool behind = !piece.kept && (!piece.rank || *piece.rank > rank);
    taken.push_back({p, size, idle && MayLeaveDevice(p, rank + 1), behind});
  });
  device_line_.Waits(id, Get(id).info.device_bytes, device_.capacity(), taken);
}

Residency::Work Residency::Begin(Work::Kind kind, PieceId id, Evicted evicted) {
  Piece& piece = Get(id);
  piece.working = piece.fetching = true;
  ++fetches_;
  if (kind == Work::Kind::kUpload) {
    host_.Pin(id);
    piece.host_pinned = true;
  }
  return {kind, id, std::move(evicted)};
}

std::vector<Residency::Move> Residency::TakeMoves() {
  std::vector<Move> moves;
  for (auto& [owner, evicted] : std::exchange(moves_, {})) moves.push_back({owner, evicted});
  return moves;
}

Tier Residency::TierOf(PieceId id) const {
  if (device_.Find(id) != nullptr) return Tier::kDevice;
  return host_.Find(id) != nullptr ? Tier::kHost : Tier::kDisk;
}

}  // namespace hydrad
