// Which blocks hold the KV cache of which tokens, so that what has been computed once can be used again.
#ifndef HYDRAD_SERVER_KV_PREFIX_INDEX_H_
#define HYDRAD_SERVER_KV_PREFIX_INDEX_H_

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/kv/block_pool.h"
#include "server/kv/block_table.h"
#include "server/kv/keyed_hash.h"

namespace hydrad {

// Finds full blocks by (namespace, all tokens from position 0 to the block's last one). The blocks of one
// sequence form a chain: an entry is a block, the entry of the block before it, and its own tokens.
//
// Entries are looked up by a keyed 64-bit hash that is chained likewise, but found by comparison: of the
// namespace, the block before and the tokens. A collision, made by chance or by malice, costs time and can
// never give a wrong block.
//
// The index holds no references. While somebody does, an entry stays; after that it stays until the pool
// reclaims its block. Whoever holds a block holds those before it and gives them back after it, so the pool
// reclaims chains from their end, and no entry outlives the one before it.
//
// An index has a pool to itself, which must outlive it. Owned by the scheduler thread.
class PrefixIndex {
 public:
  // What the contents of a block depend on beside its tokens: who may share it, the adapter generation (or
  // none), the route taken, and the weights and top_k of a composition. The caller gives each combination a
  // number of its own, and does not derive it by a hash: equal numbers share blocks.
  using Namespace = uint64_t;

  PrefixIndex(int block_size, BlockPool& pool, const HashKey& key = HashKey::Random());
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // How many blocks Hold would find, and how many of them are free now (`free`, if it is not null): held,
  // they are not. Changes nothing: neither references nor the order of reclaiming.
  int Match(Namespace ns, std::span<const int32_t> tokens, int* free = nullptr) const;
  // Puts the blocks of the longest known prefix of `tokens` into `table`, which holds them from now on.
  // Returns how many there are. REQUIRES: the table is empty.
  int Hold(Namespace ns, std::span<const int32_t> tokens, BlockTable& table);
  // Makes the full blocks of `tokens` known, which are the first ones of `table`. Where the same prefix is
  // known by another block already, the table takes that one and gives its own back; then the result is
  // false. REQUIRES: the K/V of `tokens` are computed in the table's blocks, and stay as they are; no table
  // in two namespaces.
  bool Insert(Namespace ns, std::span<const int32_t> tokens, BlockTable& table);
  // Forgets every entry of a namespace that has come to its end. Blocks that are held stay with their
  // holders. REQUIRES: Insert is not called for `ns` any more.
  void Evict(Namespace ns);
  // Whether there are entries of `ns`.
  bool Knows(Namespace ns) const { return first_.contains(ns); }
  // Calls `reclaimed` with the namespace of each entry that goes because the pool wants its block.
  void OnReclaim(std::function<void(Namespace)> reclaimed) { reclaimed_ = std::move(reclaimed); }
  // Entries.
  int size() const { return size_; }

  int block_size() const { return block_size_; }

  // INTERNAL, with what is wrong, unless all that is said above holds of every entry. Takes time in
  // proportion to size(), so it is for idle moments.
  absl::Status Check() const;

 private:
  struct Entry {
    Namespace ns = 0;
    uint64_t hash = 0;
    int32_t before = -1;  // the block before, -1 for a chain's first one
    int32_t behind = 0;   // entries whose `before` is this one
    int32_t next_in_bucket = -1;
    int32_t previous = -1, next = -1;  // in the namespace
  };

  // The next entry of the walk along the chain of one sequence.
  struct Place {
    int32_t before = -1;
    uint64_t hash;  // of the chain so far, at first of the namespace
  };

  std::span<const int32_t> TokensOf(int32_t block) const;
  int32_t& Bucket(uint64_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }
  int32_t Bucket(uint64_t hash) const { return buckets_[hash & (buckets_.size() - 1)]; }
  // Goes one block on: the block of the next `tokens`, or -1, in which case place.hash is that of its entry.
  int32_t Next(Namespace ns, std::span<const int32_t> tokens, Place* place) const;
  // Walks along `tokens` as far as blocks are known.
  template <class Visit>
  int Walk(Namespace ns, std::span<const int32_t> tokens, Visit visit) const;
  void Add(Namespace ns, std::span<const int32_t> tokens, const Place& place, int32_t block);
  void Remove(int32_t block);
  absl::Status CheckEntry(Namespace ns, int32_t block) const;
  absl::Status CheckOrder() const;

  const int block_size_;
  BlockPool& pool_;
  const HashKey key_;
  int size_ = 0;
  std::vector<Entry> entries_;                    // [pool.total()] of the cached blocks
  std::vector<int32_t> tokens_;                   // [pool.total(), block_size]
  std::vector<int32_t> buckets_;                  // by hash: the first entry or -1; a power of two
  std::unordered_map<Namespace, int32_t> first_;  // of each namespace that has entries
  std::function<void(Namespace)> reclaimed_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_KV_PREFIX_INDEX_H_
