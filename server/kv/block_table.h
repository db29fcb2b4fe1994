// The blocks of one sequence.
#ifndef HYDRAD_SERVER_KV_BLOCK_TABLE_H_
#define HYDRAD_SERVER_KV_BLOCK_TABLE_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "server/kv/block_pool.h"

namespace hydrad {

// Block i of a table holds the positions i * block_size and following. The ids lie side by side as a step
// wants them, are appended to, and keep their place until all go at once. A table has one reference to each
// of its blocks, which destruction gives back. Move-only.
//
// Tables share blocks through the index alone (prefix_index.h), and always from position 0 on: whoever holds
// a shared block holds all those before it. So the blocks that somebody else holds too are the first ones of
// a table. Owned by the scheduler thread, as the pool is.
class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(BlockTable&& other) noexcept { *this = std::move(other); }
  BlockTable& operator=(BlockTable&& other) noexcept;
  ~BlockTable() { Clear(); }

  // Takes blocks until the table has `blocks` of them. False when the pool is empty before that; the table
  // keeps what it got. A table has blocks of one pool, which must outlive it.
  bool GrowTo(int blocks, BlockPool& pool);
  // Gives all blocks back, the last one first: of a cached prefix, the end is reclaimed before the beginning.
  void Clear();

  int size() const { return static_cast<int>(ids_.size()); }
  std::span<const int32_t> ids() const { return ids_; }  // until the table next changes
  // The first so many blocks are, or were, known to the index, and others may hold them: what is in them must
  // stay as it is.
  int shareable() const { return shareable_; }
  // The blocks that Clear would make free: all but those that another table holds too.
  int exclusive() const;

 private:
  friend class PrefixIndex;

  BlockPool* pool_ = nullptr;  // of the blocks; null before the first one
  std::vector<int32_t> ids_;
  int shareable_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_KV_BLOCK_TABLE_H_
