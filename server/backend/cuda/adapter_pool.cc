#include "server/backend/cuda/adapter_pool.h"

#include <iterator>

#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

std::optional<size_t> FreeList::Take(size_t bytes) {
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    const auto [begin, size] = *hole;
    if (size < bytes) continue;
    holes_.erase(hole);
    if (size > bytes) holes_[begin + bytes] = size - bytes;
    return begin;
  }
  return std::nullopt;
}

void FreeList::GiveBack(size_t begin, size_t bytes) {
  auto hole = holes_.emplace(begin, bytes).first;
  if (const auto next = std::next(hole); next != holes_.end() && begin + bytes == next->first) {
    hole->second += next->second;
    holes_.erase(next);
  }
  if (hole == holes_.begin()) return;
  if (const auto before = std::prev(hole); before->first + before->second == begin) {
    before->second += hole->second;
    holes_.erase(hole);
  }
}

size_t FreeList::free() const {
  size_t bytes = 0;
  for (const auto& [begin, size] : holes_) bytes += size;
  return bytes;
}

AdapterPool::AdapterPool(std::byte* base, size_t bytes, StepClock& clock)
    : base_(base), clock_(clock), free_(bytes / kAlignment * kAlignment) {}

absl::StatusOr<std::unique_ptr<AdapterPool::Piece>> AdapterPool::Take(size_t bytes) {
  bytes = Rounded(bytes);
  while (true) {
    int64_t await = 0;
    if (const auto begin = TryTake(bytes, clock_.Finished(), &await)) {
      return std::make_unique<Piece>(*this, *begin, bytes);
    }
    if (await == 0) break;
    RETURN_IF_ERROR(clock_.Await(await));
  }
  MutexLock lock(&mu_);
  return ResourceExhausted(
      "an adapter of {} bytes finds {} free of the {} set aside, in pieces that are too small", bytes,
      free_.free(), free_.size());
}

// `await`: a step after which trying again may help, or 0.
std::optional<size_t> AdapterPool::TryTake(size_t bytes, int64_t finished, int64_t* await) {
  MutexLock lock(&mu_);
  Reclaim(finished);
  const auto begin = free_.Take(bytes);
  if (!begin && !retired_.empty()) *await = retired_.front().step;
  return begin;
}

void AdapterPool::Retire(size_t begin, size_t bytes) {
  MutexLock lock(&mu_);
  retired_.push_back({clock_.begun(), begin, bytes});
}

void AdapterPool::Reclaim(int64_t finished) {
  while (!retired_.empty() && retired_.front().step <= finished) {
    free_.GiveBack(retired_.front().begin, retired_.front().bytes);
    retired_.pop_front();
  }
}

}  // namespace hydrad
