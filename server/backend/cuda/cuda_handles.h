// CUDA's own objects, given back by destruction. Move-only. An error of giving back is that of an earlier
// call, which has been told, or that of a device that is lost.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_HANDLES_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_HANDLES_H_

#include <absl/status/statusor.h>

#include <memory>
#include <type_traits>

#include "server/backend/cuda/cuda_status.h"
#include "server/base/status_macros.h"

namespace hydrad {

template <class Pointer, auto Destroy>
struct CudaDeleter {
  using pointer = Pointer;
  void operator()(Pointer object) const {
    // Taken back, so that nobody else's call reports it. What cuBLASLt destroys has no such error.
    if (Destroy(object) != decltype(Destroy(object)){}) cudaGetLastError();
  }
};
template <class Pointer, auto Destroy>
using CudaHandle = std::unique_ptr<std::remove_pointer_t<Pointer>, CudaDeleter<Pointer, Destroy>>;

using CudaStream = CudaHandle<cudaStream_t, &cudaStreamDestroy>;
using CudaEvent = CudaHandle<cudaEvent_t, &cudaEventDestroy>;
using CudaGraph = CudaHandle<cudaGraphExec_t, &cudaGraphExecDestroy>;

// A stream that does not wait for the default stream.
inline absl::StatusOr<CudaStream> MakeStream() {
  cudaStream_t stream;
  RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  return CudaStream(stream);
}
inline absl::StatusOr<CudaEvent> MakeEvent() {
  cudaEvent_t event;
  RETURN_IF_ERROR(CudaStatus(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event"));
  return CudaEvent(event);
}

// Host memory that the device copies from and to by itself.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;  // of no bytes
  static absl::StatusOr<PinnedBuffer> Make(size_t bytes) {
    void* data;
    RETURN_IF_ERROR(CudaStatus(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), "taking pinned memory"));
    PinnedBuffer buffer;
    buffer.data_.reset(static_cast<std::byte*>(data));
    buffer.bytes_ = bytes;
    return buffer;
  }
  std::byte* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  CudaHandle<std::byte*, &cudaFreeHost> data_;
  size_t bytes_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_HANDLES_H_
