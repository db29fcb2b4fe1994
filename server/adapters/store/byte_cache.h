// One tier of memory: values are charged in bytes, and the least recently used are thrown out to make room.
// Host and device memory each have one.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_BYTE_CACHE_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_BYTE_CACHE_H_

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/base/check.h"

namespace hydrad {

// Bytes are charged before the memory is taken and given back after it has gone, so what is charged is never
// less than what is in memory. An entry is
//
//   (none) -Reserve-> reserved -Fill-> filled -Take or thrown out-> (bytes only) -Free-> (none)
//
// Nothing is thrown out while it is reserved or held. A value that is thrown out goes to the caller, who
// destroys it (outside of its lock) before it takes the memory that the value made room for. All its bytes
// are charged to the new entry until that is filled, so the caller need not call Free for it. Not
// thread-safe.
template <class Value>
class ByteCache {
 public:
  using Id = uint64_t;
  struct Evicted {
    Id id;
    Value value;
  };
  // Whether an entry may be thrown out. Is asked of filled entries that are not held.
  using MayEvict = std::function<bool(Id)>;

  explicit ByteCache(uint64_t capacity) : capacity_(capacity) {}
  ByteCache(const ByteCache&) = delete;
  ByteCache& operator=(const ByteCache&) = delete;

  // Charges `bytes` to a new entry, throwing out the least recently used ones that `may_evict` allows, no
  // more of them than it takes. False when even all of them would not do: then nothing has changed. REQUIRES:
  // `id` has no entry.
  bool Reserve(Id id, uint64_t bytes, const MayEvict& may_evict, std::vector<Evicted>* evicted) {
    const std::optional<uint64_t> gained = MakeRoom(bytes, may_evict, evicted);
    if (!gained) return false;
    const bool fresh = entries_.try_emplace(id).second;
    HYDRAD_CHECK(fresh);
    Charge(entries_[id], bytes, *gained > bytes ? *gained - bytes : 0);
    return true;
  }
  // Changes what a reserved entry is charged, on Reserve's terms.
  bool Resize(Id id, uint64_t bytes, const MayEvict& may_evict, std::vector<Evicted>* evicted) {
    Entry& entry = Get(id);
    uint64_t gained = 0;
    const uint64_t more = bytes > entry.bytes ? bytes - entry.bytes : 0;
    if (more > 0) {
      const std::optional<uint64_t> made = MakeRoom(more, may_evict, evicted);
      if (!made) return false;
      gained = *made;
    }
    Charge(entry, bytes, gained > more ? gained - more : 0);
    return true;
  }
  // The memory has been taken. The entry is the most recently used one, and not held.
  void Fill(Id id, Value value) {
    Entry& entry = Get(id);
    HYDRAD_CHECK(!entry.value && entry.holds == 0);
    Charge(entry, entry.bytes, 0);
    entry.value = std::move(value);
    Enlist(id, entry);
  }
  // Moves the value out, which is still charged. REQUIRES: filled, not held.
  Value Take(Id id) {
    Entry& entry = Get(id);
    HYDRAD_CHECK(entry.value && entry.holds == 0);
    lru_.erase(entry.place);
    return *std::exchange(entry.value, std::nullopt);
  }
  // The entry is gone. REQUIRES: it holds no value.
  void Free(Id id) {
    Entry& entry = Get(id);
    HYDRAD_CHECK(!entry.value);
    Charge(entry, 0, 0);
    entries_.erase(id);
  }

  // A filled entry stays while it is held, which counts, and is the most recently used one after that.
  void Hold(Id id) {
    Entry& entry = Get(id);
    HYDRAD_CHECK(entry.value.has_value());
    if (entry.holds++ == 0) lru_.erase(entry.place);
  }
  void Release(Id id) {
    Entry& entry = Get(id);
    HYDRAD_CHECK(entry.holds > 0);
    if (--entry.holds == 0) Enlist(id, entry);
  }

  // Whether `id` has an entry, reserved or filled.
  bool Has(Id id) const { return entries_.contains(id); }
  // The value of an entry; null unless it is filled.
  const Value* Find(Id id) const {
    const auto found = entries_.find(id);
    return found != entries_.end() && found->second.value ? &*found->second.value : nullptr;
  }
  // Calls `look` with every entry: its id, its bytes, and whether it could be thrown out as far as the cache
  // knows.
  template <class Look>
  void ForEach(const Look& look) const {
    for (const auto& [id, entry] : entries_) {
      look(id, entry.bytes + entry.more, entry.value.has_value() && entry.holds == 0);
    }
  }
  // In bytes. What is used counts every byte that is charged, reserved or filled.
  uint64_t capacity() const { return capacity_; }
  uint64_t used() const { return used_; }

 private:
  struct Entry {
    uint64_t bytes = 0;
    uint64_t more = 0;  // that was thrown out for it and may not be destroyed yet, until it is filled
    std::optional<Value> value;
    int holds = 0;
    std::list<Id>::iterator place{};  // in lru_, while filled and not held
  };

  Entry& Get(Id id) {
    const auto found = entries_.find(id);
    HYDRAD_CHECK(found != entries_.end());
    return found->second;
  }
  void Charge(Entry& entry, uint64_t bytes, uint64_t more) {
    used_ = used_ - entry.bytes - entry.more + bytes + more;
    entry.bytes = bytes;
    entry.more = more;
  }
  void Enlist(Id id, Entry& entry) { entry.place = lru_.insert(lru_.end(), id); }

  // The bytes of what was thrown out; nullopt when there is no room.
  std::optional<uint64_t> MakeRoom(uint64_t bytes, const MayEvict& may_evict, std::vector<Evicted>* evicted) {
    if (bytes > capacity_) return std::nullopt;
    uint64_t gained = 0;
    std::vector<Id> victims;
    for (auto at = lru_.begin(); at != lru_.end() && used_ - gained + bytes > capacity_; ++at) {
      if (!may_evict(*at)) continue;
      victims.push_back(*at);
      gained += Get(*at).bytes;
    }
    if (used_ - gained + bytes > capacity_) return std::nullopt;
    for (const Id victim : victims) {
      evicted->push_back({victim, Take(victim)});
      Free(victim);
    }
    return gained;
  }

  const uint64_t capacity_;
  uint64_t used_ = 0;  // the sum of what is charged to the entries
  std::unordered_map<Id, Entry> entries_;
  std::list<Id> lru_;  // filled and not held, least recently used first
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_BYTE_CACHE_H_
