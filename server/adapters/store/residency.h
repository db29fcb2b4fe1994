// Where the weights of adapters are: on disk, in host memory, on the device; and what is moved next.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/adapters/info.h"  // PieceInfo, Tier
#include "server/adapters/store/adapter_on_device.h"
#include "server/adapters/store/byte_cache.h"
#include "server/adapters/store/room_line.h"

namespace hydrad {

struct AdapterEntry;

// A generation consists of one piece or several (see PieceInfo), and several generations of one name may
// share one (an expert that a replace has not touched). Host copies stay while there is room when a piece is
// on the device too.
using PieceId = uint64_t;

// Only accounts and decides: who calls it reads files and copies to the device, and destroys what it hands
// out. Not thread-safe. Work on a piece keeps its host copy in place and is done by one thread at a time.
class Residency {
 public:
  using HostCopy = std::shared_ptr<const AdapterPiece>;
  using DeviceCopy = std::shared_ptr<const AdapterOnDevice>;
  using Owner = std::shared_ptr<AdapterEntry>;
  // What was thrown out: to be destroyed before the memory is taken that it made room for.
  using Evicted = std::vector<std::shared_ptr<const void>>;

  Residency(uint64_t host_bytes, uint64_t device_bytes, int max_fetches)
      : host_(host_bytes), device_(device_bytes), max_fetches_(max_fetches) {}

  // A load. The piece begins on disk, with work under way and part of no generation.
  PieceId Add(Owner owner, PieceInfo info);
  // Host memory may be taken from whatever is not worked on: nothing that waits holds up a load. The device
  // is taken from what nobody wants. kLater: for the host, work that is in the way will end.
  enum class Room { kYes, kLater, kNever };
  Room ReserveHost(PieceId id, uint64_t bytes, Evicted* evicted);
  // The piece has been read. False: it took more than was reserved, for which there is no room now.
  bool FillHost(PieceId id, PieceInfo info, HostCopy copy, Evicted* evicted);
  Room ReserveDevice(PieceId id, Evicted* evicted);
  void FillDevice(PieceId id, DeviceCopy copy);
  // Work is over, well or not: what was reserved and not filled goes back.
  void EndWork(PieceId id);

  // From a journal: a piece of which all is known, on disk, without work.
  PieceId AddKnown(Owner owner, PieceInfo info);

  // One generation more or less consists of the piece. Without one, it goes.
  void Refer(PieceId id);
  void Unrefer(PieceId id);
  // Its content is found there from now on, under the name of an expert if it is one.
  void SetPlace(PieceId id, const PieceInfo& at) {
    Get(id).info.path = at.path;
    Get(id).info.expert = at.expert;
  }
  void SetGeneration(PieceId id, uint64_t generation) { Get(id).info.generation = generation; }
  // Kept pieces are not thrown out of the device.
  void SetKept(PieceId id, bool kept) { Get(id).kept = kept; }
  // In use by a request. REQUIRES: on the device.
  DeviceCopy Pin(PieceId id);
  void Unpin(PieceId id) { device_.Unpin(id); }

  // The pieces that should be on the device, most urgent first; earlier ones may throw out later ones.
  void SetWanted(const std::vector<PieceId>& pieces);
  struct Work {
    enum class Kind { kRead, kUpload } kind;
    PieceId piece;
    Evicted evicted;
  };
  // The next thing to do about it: work on that piece has begun. nullopt: nothing can be done now. Whatever
  // ends work or unpins a piece may change that. One that finds no room lets those behind it go before it as
  // RoomLine says.
  std::optional<Work> Next();
  // The wanted pieces that only pieces in use, kept or more urgent keep from the device, when Next has
  // answered nullopt.
  const std::set<PieceId>& blocked() const { return blocked_; }

  // Pieces that are part of nothing any more. Their values are to be destroyed, then they are to be freed.
  struct Garbage {
    PieceId id;
    Owner owner;
    Evicted values;
  };
  std::vector<Garbage> TakeGarbage() { return std::exchange(garbage_, {}); }
  void Free(PieceId id);

  // Owners of pieces that have changed their tier since the last call, each once; `evicted`: down, for room.
  struct Move {
    Owner owner;
    bool evicted;
  };
  std::vector<Move> TakeMoves();

  Tier TierOf(PieceId id) const;
  const PieceInfo& info(PieceId id) const { return pieces_.at(id).info; }
  const Owner& owner(PieceId id) const { return pieces_.at(id).owner; }
  HostCopy host_copy(PieceId id) const { return *host_.Find(id); }
  uint64_t host_used() const { return host_.used(); }
  uint64_t device_used() const { return device_.used(); }
  uint64_t host_capacity() const { return host_.capacity(); }
  uint64_t device_capacity() const { return device_.capacity(); }

 private:
  struct Piece {
    Owner owner;
    PieceInfo info;
    int generations = 0;
    bool working = false, fetching = false;  // fetching: the work came from Next
    bool host_pinned = false;                // by the work
    bool kept = false;
    std::optional<size_t> rank;  // among the wanted
  };

  Piece& Get(PieceId id) { return pieces_.at(id); }
  // Wanted pieces from rank `from` on may be thrown out.
  bool ReserveHostFor(PieceId id, uint64_t bytes, size_t from, Evicted* evicted);
  bool ReserveDeviceFor(PieceId id, size_t from, Evicted* evicted);
  // What may be thrown out of the host for a piece of rank `from` - 1.
  bool MayLeaveHost(PieceId id, size_t from) const;
  bool MayLeaveDevice(PieceId id, size_t from) const;
  // No room was found for it: tells the line so if it is the first of its tier.
  void WaitForHost(PieceId id, uint64_t bytes, size_t rank);
  void WaitForDevice(PieceId id, size_t rank);
  std::optional<Work> Try(PieceId id, size_t rank);
  std::optional<Work> TryToRead(PieceId id, size_t rank);
  Work Begin(Work::Kind kind, PieceId id, Evicted evicted);
  void CollectIfUnused(PieceId id, Piece& piece);
  template <class Copy>
  void Note(std::vector<typename ByteCache<Copy>::Evicted> gone, Evicted* evicted);

  ByteCache<HostCopy> host_;
  ByteCache<DeviceCopy> device_;
  const int max_fetches_;
  int fetches_ = 0;
  PieceId last_id_ = 0;
  std::unordered_map<PieceId, Piece> pieces_;
  std::vector<PieceId> wanted_;
  RoomLine host_line_, device_line_;
  bool host_waits_ = false, device_waits_ = false;  // in this search of Next, somebody does already
  std::set<PieceId> blocked_;
  std::vector<Garbage> garbage_;
  std::map<Owner, bool> moves_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_RESIDENCY_H_
