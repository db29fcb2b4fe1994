#include "server/kv/block_pool.h"

#include "server/base/check.h"

namespace hydrad {

BlockPool::BlockPool(int blocks) : total_(blocks), blocks_(static_cast<size_t>(blocks) + 1) {
  blocks_[total_].previous = blocks_[total_].next = total_;
  free_.reserve(static_cast<size_t>(blocks));
  for (int id = blocks - 1; id >= 0; --id) free_.push_back(id);
}

std::optional<int32_t> BlockPool::Take() {
  int32_t block;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (block = oldest(); block >= 0) {
    Unlink(block);
    blocks_[block].cached = false;
    reclaimed_(block);
  } else {
    return std::nullopt;
  }
  blocks_[block].refs = 1;
  return block;
}

void BlockPool::Ref(int32_t block) {
  BlockState& state = blocks_[block];
  HYDRAD_CHECK(state.refs > 0 || state.cached);
  if (state.refs == 0) Unlink(block);
  ++state.refs;
}

void BlockPool::Unref(int32_t block) {
  BlockState& state = blocks_[block];
  HYDRAD_CHECK(state.refs > 0);
  if (--state.refs > 0) return;
  if (state.cached) {
    Link(block);
  } else {
    free_.push_back(block);
  }
}

void BlockPool::SetCached(int32_t block, bool cached) {
  BlockState& state = blocks_[block];
  HYDRAD_CHECK(state.cached != cached && (state.refs > 0 || !cached));
  state.cached = cached;
  if (state.refs > 0) return;
  Unlink(block);
  free_.push_back(block);
}

void BlockPool::Link(int32_t block) {
  const int32_t newest = blocks_[total_].previous;
  blocks_[block].previous = newest;
  blocks_[block].next = total_;
  blocks_[newest].next = blocks_[total_].previous = block;
  ++reclaimable_;
}

void BlockPool::Unlink(int32_t block) {
  BlockState& state = blocks_[block];
  blocks_[state.previous].next = state.next;
  blocks_[state.next].previous = state.previous;
  state.previous = state.next = -1;
  --reclaimable_;
}

}  // namespace hydrad
