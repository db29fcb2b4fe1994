// Decides which fetches may go before one that finds no room in a tier.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_ROOM_LINE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_ROOM_LINE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <span>

namespace hydrad {

// The most urgent fetch that finds no room is the first in the line. For as long as what was there before it
// is in its way, fetches behind it that fit go first: they cost it nothing. As soon as only those that went
// before it (and what has been held since) are in its way, its turn has come: none behind it goes any more
// until it has its room. So a large adapter does not stand before small ones while it could not go itself,
// and small ones that never stop coming do not keep it out. Pure; not thread-safe.
class RoomLine {
 public:
  // One thing that takes room in the tier.
  struct Taken {
    uint64_t id = 0;
    uint64_t bytes = 0;
    bool movable = false;  // may make room for the first in the line now
    bool behind = false;   // less urgent than it, and not kept for ever: what may have gone before it
  };

  // The fetch of `id` finds no room, and is the first in the line; it needs `bytes` of the tier's `capacity`.
  void Waits(uint64_t id, uint64_t bytes, uint64_t capacity, std::span<const Taken> taken);
  void NobodyWaits() { *this = {}; }
  // Whether those behind the first may take room. True when nobody waits.
  bool MayPass() const { return !turn_; }

 private:
  std::optional<uint64_t> id_{};
  std::set<uint64_t> before_{};  // what was in its way when it began to wait, and is without a break since
  bool turn_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_ROOM_LINE_H_
