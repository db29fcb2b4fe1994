#include "server/adapters/store/room_line.h"

namespace hydrad {

void RoomLine::Waits(uint64_t id, uint64_t bytes, uint64_t capacity, std::span<const Taken> taken) {
  const bool fresh = id_ != id;
  if (fresh) *this = {};
  id_ = id;
  std::set<uint64_t> before;
  uint64_t in_the_way = 0;  // of what was there before it, or is more urgent
  for (const Taken& t : taken) {
    if (t.movable) continue;
    const bool passed = !fresh && t.behind && !before_.contains(t.id);
    if (passed) continue;
    before.insert(t.id);
    in_the_way += t.bytes;
  }
  before_ = std::move(before);
  turn_ = turn_ || in_the_way + bytes <= capacity;
}

}  // namespace hydrad
