#include "server/kv/block_pool.h"

#include <cassert>

namespace hydrad {

Block& Block::operator=(Block&& other) noexcept {
  if (this == &other) return *this;
  const Block old(std::move(*this));  // gives back what this held
  pool_ = std::exchange(other.pool_, nullptr);
  id_ = other.id_;
  return *this;
}

Block::~Block() {
  if (pool_ == nullptr) return;
  assert(pool_->free() < pool_->total());
  pool_->free_.push_back(id_);
}

BlockPool::BlockPool(int blocks) : total_(blocks) {
  free_.reserve(blocks);
  for (int id = blocks - 1; id >= 0; --id) free_.push_back(id);
}

std::optional<Block> BlockPool::Allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t id = free_.back();
  free_.pop_back();
  return Block(this, id);
}

}  // namespace hydrad
