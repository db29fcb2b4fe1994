// CUDA's own objects, given back by destruction. Move-only.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_HANDLES_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_HANDLES_H_

#include <memory>
#include <type_traits>

#include "server/backend/cuda/cuda_status.h"

namespace hydrad {

template <class Pointer, auto Destroy>
struct CudaDeleter {
  using pointer = Pointer;
  void operator()(Pointer object) const { Destroy(object); }
};
template <class Pointer, auto Destroy>
using CudaHandle = std::unique_ptr<std::remove_pointer_t<Pointer>, CudaDeleter<Pointer, Destroy>>;

using CudaStream = CudaHandle<cudaStream_t, &cudaStreamDestroy>;
using CudaEvent = CudaHandle<cudaEvent_t, &cudaEventDestroy>;
using CudaGraph = CudaHandle<cudaGraphExec_t, &cudaGraphExecDestroy>;

// A stream that does not wait for the default stream.
inline CudaStream MakeStream() {
  cudaStream_t stream;
  HYDRAD_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return CudaStream(stream);
}
inline CudaEvent MakeEvent() {
  cudaEvent_t event;
  HYDRAD_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return CudaEvent(event);
}

// Host memory that the device copies from and to by itself.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(size_t bytes) : bytes_(bytes) {
    void* data;
    HYDRAD_CUDA_CHECK(cudaHostAlloc(&data, bytes, cudaHostAllocDefault));
    data_.reset(static_cast<std::byte*>(data));
  }
  std::byte* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  CudaHandle<std::byte*, &cudaFreeHost> data_;
  size_t bytes_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_HANDLES_H_
