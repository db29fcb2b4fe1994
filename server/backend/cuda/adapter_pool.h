// The part of the device's memory that adapters come and go in. One allocation from start to end, because
// taking and giving back memory of the device itself would make every step wait.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_ADAPTER_POOL_H_
#define HYDRAD_SERVER_BACKEND_CUDA_ADAPTER_POOL_H_

#include <absl/status/statusor.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "server/backend/cuda/step_clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// Which bytes of [0, size) are taken: first fit, neighbours that are free are joined. Not thread-safe.
class FreeList {
 public:
  explicit FreeList(size_t size) : size_(size), holes_{{0, size}} {}
  std::optional<size_t> Take(size_t bytes);  // where it begins; nullopt when no hole is large enough
  void GiveBack(size_t begin, size_t bytes);
  size_t free() const;
  size_t size() const { return size_; }

 private:
  const size_t size_;
  std::map<size_t, size_t> holes_;  // begin -> bytes; no two touch
};

// Thread-safe. Outlives its pieces.
class AdapterPool {
 public:
  static constexpr size_t kAlignment = 256;
  static size_t Rounded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

  // `base` [bytes] belongs to the caller; `clock` says which steps are over.
  AdapterPool(std::byte* base, size_t bytes, StepClock& clock);

  // A piece of the pool. Destroyed on any thread; its bytes are given to somebody else only when every step
  // that had begun by then is over.
  class Piece {
   public:
    Piece(AdapterPool& pool, size_t begin, size_t bytes) : pool_(pool), begin_(begin), bytes_(bytes) {}
    ~Piece() { pool_.Retire(begin_, bytes_); }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;
    std::byte* data() const { return pool_.base_ + begin_; }
    size_t bytes() const { return bytes_; }

   private:
    AdapterPool& pool_;
    const size_t begin_, bytes_;
  };

  // `bytes` rounded up to kAlignment, aligned to it. May wait for steps that are running. RESOURCE_EXHAUSTED,
  // and errors of the device.
  absl::StatusOr<std::unique_ptr<Piece>> Take(size_t bytes);

 private:
  struct Retired {
    int64_t step;  // the last that may use it
    size_t begin, bytes;
  };
  void Retire(size_t begin, size_t bytes);
  void Reclaim(int64_t finished) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<size_t> TryTake(size_t bytes, int64_t finished, int64_t* await);

  std::byte* const base_;
  StepClock& clock_;
  Mutex mu_;
  FreeList free_ ABSL_GUARDED_BY(mu_);
  std::deque<Retired> retired_ ABSL_GUARDED_BY(mu_);  // steps ascend
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_ADAPTER_POOL_H_
