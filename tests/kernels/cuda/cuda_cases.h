// What the tests of the CUDA kernels share beyond tests/kernels/cases.h: device memory, and a fixture with a
// stream. The device is a GPU, or tests/ptxsim in place of the CUDA runtime.
#ifndef HYDRAD_TESTS_KERNELS_CUDA_CUDA_CASES_H_
#define HYDRAD_TESTS_KERNELS_CUDA_CUDA_CASES_H_

#include <cuda_runtime_api.h>

#include <deque>

#include "kernels/cuda/kernels.h"
#include "tests/kernels/cases.h"

namespace hydrad {

inline void Check(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

// Returns when what cudaMemcpy and cudaMemset began is done: the tests' stream does not wait for it.
inline void Settle() { Check(cudaStreamSynchronize(nullptr)); }

// `count` elements of device memory, 256-byte aligned and then `offset` elements on.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(size_t count, size_t offset = 0) : count_(count), offset_(offset) {
    Check(cudaMalloc(&data_, (count + offset + 1) * sizeof(T)));
  }
  explicit OnDevice(std::span<const T> values, size_t offset = 0) : OnDevice(values.size(), offset) {
    if (values.empty()) return;
    Check(cudaMemcpy(data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice));
    Settle();
  }
  explicit OnDevice(const std::vector<T>& values) : OnDevice(std::span<const T>(values)) {}
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return static_cast<T*>(data_) + offset_; }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    if (count_ > 0) Check(cudaMemcpy(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  size_t count_, offset_;
  void* data_ = nullptr;
};

// A copy of a host matrix, gaps included, as elements of type T.
template <class T>
class DeviceMatrix {
 public:
  explicit DeviceMatrix(const Matrix<float>& m, size_t offset = 0)
      : rows_(m.view().rows), cols_(m.view().cols), stride_(m.view().stride), memory_(Converted(m), offset) {}

  Mat<T> view() const { return {memory_.data(), rows_, cols_, stride_}; }
  operator Mat<T>() const { return view(); }
  operator Mat<const T>() const { return {memory_.data(), rows_, cols_, stride_}; }
  Matrix<float> Read() const {
    const std::vector<T> values = memory_.Read();
    Matrix<float> m(rows_, cols_);
    for (int r = 0; r < rows_; ++r) {
      for (int c = 0; c < cols_; ++c) m.view().row(r)[c] = ToFloat(values[r * stride_ + c]);
    }
    return m;
  }

 private:
  static std::vector<T> Converted(const Matrix<float>& m) {
    const Mat<const float> from = m.view();
    std::vector<T> values(static_cast<size_t>(from.rows) * from.stride);
    for (size_t i = 0; i < values.size(); ++i) Put(values[i], from.data[i]);
    return values;
  }
  int rows_, cols_;
  int64_t stride_;
  OnDevice<T> memory_;
};

// Where an array would begin in whose element number `elements` the array at `data` begins: what a kernel
// finds far into a cache of many GiB, of which only the end is there.
template <class T>
T* Before(T* data, int64_t elements) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(data) -
                              static_cast<uintptr_t>(elements) * sizeof(T));
}

// m with every element rounded to bf16, so that host and device start from the same numbers.
inline Matrix<float> Rounded(Matrix<float> m) {
  for (int r = 0; r < m.view().rows; ++r) {
    for (int c = 0; c < m.view().cols; ++c) m.view().row(r)[c] = ToFloat(ToBf16(m.view().row(r)[c]));
  }
  return m;
}

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    ASSERT_EQ(cudaGetDeviceCount(&devices), cudaSuccess) << "run it by tests/cuda_emulation/on_device";
    ASSERT_GT(devices, 0);
    Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  void TearDown() override {
    if (stream_ != nullptr) Check(cudaStreamDestroy(stream_));
  }
  // What was enqueued ran without a fault.
  void Finish() { Check(cudaStreamSynchronize(stream_)); }

  cudaStream_t stream_ = nullptr;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_KERNELS_CUDA_CUDA_CASES_H_
