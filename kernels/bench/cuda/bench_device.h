// Device memory, clock and table of the CUDA benchmark. An error of CUDA's ends the process.
#ifndef HYDRAD_KERNELS_BENCH_CUDA_BENCH_DEVICE_H_
#define HYDRAD_KERNELS_BENCH_CUDA_BENCH_DEVICE_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/types.h"

namespace hydrad::bench {

inline void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

template <class T>
class Array {
 public:
  explicit Array(size_t count) { Check(cudaMalloc(&data_, (count + 1) * sizeof(T))); }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    if (values.empty()) return;
    Check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    Check(cudaStreamSynchronize(nullptr));  // the bench's stream does not wait for it
  }
  Array(Array&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  ~Array() { cudaFree(data_); }
  T* data() const { return static_cast<T*>(data_); }

 private:
  void* data_ = nullptr;
};

// `count` numbers between -size and size that repeat after 4096: enough for a clock, and quick to make.
template <class T>
Array<T> Noise(size_t count, float size);

// What one case must move and multiply at the least.
struct Work {
  double bytes = 0, flops = 0;
};

class Bench {
 public:
  // `check`: every case once, no clock: whether it runs at all. peak_gbs and peak_tflops are the device's, 0
  // if not known.
  Bench(bool check, double peak_gbs, double peak_tflops);
  ~Bench();

  bool check() const { return check_; }
  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }

  // Prints the case's time, GB/s, TFLOP/s and shares of peak; the median of cold runs. Returns microseconds,
  // 0 in a check.
  double Time(const std::string& name, const Work& work, const std::function<void()>& launch);

 private:
  float Once(const std::function<void()>& launch);

  const bool check_;
  const double peak_gbs_, peak_tflops_;
  int multiprocessors_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  Array<char> flush_;  // larger than any L2: written between runs
};

}  // namespace hydrad::bench

#endif  // HYDRAD_KERNELS_BENCH_CUDA_BENCH_DEVICE_H_
