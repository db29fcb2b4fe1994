// Who holds which block of KV cache. Only ids: the memory belongs to the model.
#ifndef HYDRAD_SERVER_KV_BLOCK_POOL_H_
#define HYDRAD_SERVER_KV_BLOCK_POOL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace hydrad {

// Counts the references to the blocks 0..blocks-1. A block is free when nobody references it. A free block
// may still be cached: what is in it can be found again (prefix_index.h), until the block is handed out for
// something else. The pool hands out the free blocks that are not cached first, the one that came back last
// before the others, and then reclaims the cached one that has been free for the longest.
//
// Every operation takes constant time and allocates nothing. The scheduler thread owns the pool, which must
// outlive the tables and the index that use it. Tables (block_table.h) hold the references; nobody else needs
// to count.
class BlockPool {
 public:
  explicit BlockPool(int blocks);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // A block with one reference, the caller's, and unspecified contents. nullopt when none is free.
  std::optional<int32_t> Take();
  // One reference more. REQUIRES: the block is referenced or cached.
  void Ref(int32_t block);
  // One reference less. REQUIRES: the block is referenced.
  void Unref(int32_t block);
  int refs(int32_t block) const { return blocks_[block].refs; }

  // Whether what is in the block can be found again. REQUIRES: the block is referenced when it becomes
  // cached.
  void SetCached(int32_t block, bool cached);
  bool cached(int32_t block) const { return blocks_[block].cached; }
  // Take calls `reclaimed` with a cached block that it is about to hand out; the block is not cached any
  // more.
  void OnReclaim(std::function<void(int32_t block)> reclaimed) { reclaimed_ = std::move(reclaimed); }
  // The free cached blocks, in the order in which they would be reclaimed: the first one, and the one after
  // `block`; -1 at the end.
  int32_t oldest() const { return blocks_[total_].next == total_ ? -1 : blocks_[total_].next; }
  int32_t NewerThan(int32_t block) const { return blocks_[block].next == total_ ? -1 : blocks_[block].next; }

  int free() const { return static_cast<int>(free_.size()) + reclaimable_; }
  int total() const { return total_; }

 private:
  struct BlockState {
    int32_t refs = 0;
    bool cached = false;
    int32_t previous = -1, next = -1;  // in the ring of free cached blocks, oldest first
  };

  void Link(int32_t block);
  void Unlink(int32_t block);

  const int total_;
  std::vector<BlockState> blocks_;  // [total_ + 1] the last one is the ring's end
  std::vector<int32_t> free_;       // neither referenced nor cached
  int reclaimable_ = 0;             // in the ring
  std::function<void(int32_t)> reclaimed_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_KV_BLOCK_POOL_H_
