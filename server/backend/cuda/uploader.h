// Host to device copies that do not hold up the steps: through pinned memory, on a stream of their own.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_UPLOADER_H_
#define HYDRAD_SERVER_BACKEND_CUDA_UPLOADER_H_

#include <absl/functional/function_ref.h>

#include <array>
#include <memory>

#include "server/backend/cuda/cuda_handles.h"
#include "server/base/mutex.h"

namespace hydrad {

// Thread-safe. Calls from several threads take turns chunk by chunk. When one returns an error, nothing that
// it began is under way, or the device is lost.
class Uploader {
 public:
  static constexpr size_t kChunk = size_t{4} << 20;

  static absl::StatusOr<std::unique_ptr<Uploader>> Make();

  // Copies `bytes` bytes to `to`, in chunks of at most kChunk that end on multiples of `grain` (which divides
  // `bytes`): `fill` writes the bytes [begin, begin + count) of the source to `out`. Returns when the last
  // chunk is on its way.
  absl::Status Copy(std::byte* to, size_t bytes, size_t grain,
                    absl::FunctionRef<void(size_t begin, size_t count, std::byte* out)> fill);
  absl::Status Copy(std::byte* to, const std::byte* from, size_t bytes);
  absl::Status Zero(std::byte* to, size_t bytes);

  // Records `event` behind everything that this thread has copied.
  absl::Status Mark(cudaEvent_t event);
  // Returns when everything is on the device.
  absl::Status Await();

 private:
  struct Stage {
    PinnedBuffer memory;
    CudaEvent copied;  // recorded behind the last copy of `memory`; never recorded before the first
  };
  Uploader(CudaStream stream, std::array<Stage, 2> stages)
      : stream_(std::move(stream)), stages_(std::move(stages)) {}
  absl::Status CopyStage(std::byte* to, size_t bytes, const Stage& stage);

  const CudaStream stream_;
  Mutex mu_;
  std::array<Stage, 2> stages_ ABSL_GUARDED_BY(mu_);
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_UPLOADER_H_
