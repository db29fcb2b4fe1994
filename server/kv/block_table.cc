#include "server/kv/block_table.h"

#include <algorithm>

#include "server/base/check.h"

namespace hydrad {

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  pool_ = std::exchange(other.pool_, nullptr);
  ids_ = std::exchange(other.ids_, {});
  shareable_ = std::exchange(other.shareable_, 0);
  return *this;
}

bool BlockTable::GrowTo(int blocks, BlockPool& pool) {
  HYDRAD_CHECK(ids_.empty() || pool_ == &pool);
  pool_ = &pool;
  while (size() < blocks) {
    const std::optional<int32_t> block = pool.Take();
    if (!block) return false;
    ids_.push_back(*block);
  }
  return true;
}

void BlockTable::Clear() {
  for (; !ids_.empty(); ids_.pop_back()) pool_->Unref(ids_.back());
  shareable_ = 0;
}

int BlockTable::exclusive() const {
  const auto end = ids_.begin() + shareable_;
  const auto own =
      std::partition_point(ids_.begin(), end, [this](int32_t block) { return pool_->refs(block) > 1; });
  return static_cast<int>(ids_.end() - own);
}

}  // namespace hydrad
