// Who holds which block of KV cache. Only ids: the memory belongs to the model.
#ifndef HYDRAD_SERVER_KV_BLOCK_POOL_H_
#define HYDRAD_SERVER_KV_BLOCK_POOL_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace hydrad {

class BlockPool;

// One block of cache, given back by destruction. Move-only.
class Block {
 public:
  Block(Block&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
  Block& operator=(Block&& other) noexcept;
  ~Block();
  int32_t id() const { return id_; }

 private:
  friend class BlockPool;
  Block(BlockPool* pool, int32_t id) : pool_(pool), id_(id) {}
  BlockPool* pool_;
  int32_t id_;
};

// Hands out block ids 0..blocks-1. Owned by the scheduler thread; must outlive its blocks.
class BlockPool {
 public:
  explicit BlockPool(int blocks);
  std::optional<Block> Allocate();  // nullopt when none is free
  int free() const { return static_cast<int>(free_.size()); }
  int total() const { return total_; }

 private:
  friend class Block;
  const int total_;
  std::vector<int32_t> free_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_KV_BLOCK_POOL_H_
