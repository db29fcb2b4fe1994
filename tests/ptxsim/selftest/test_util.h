// Helpers of the self-tests: device arrays, and running a function on both sides.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "ptxsim.h"

namespace ptxsim_test {

// An array on the device, with the host's copy beside it.
template <class T>
class Array {
 public:
  explicit Array(size_t count, T value = T{}) : Array(std::vector<T>(count, value)) {}
  explicit Array(const std::vector<T>& values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&p_), count_ * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(p_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { cudaFree(p_); }

  T* get() const { return p_; }
  size_t size() const { return count_; }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    cudaMemcpy(values.data(), p_, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  T* p_ = nullptr;
  size_t count_;
};

// Findings of the simulator since the last clear, one a line; empty on a real device.
inline std::string Findings() {
  const ptxsim_api* sim = ptxsim_get();
  std::string all;
  if (sim == nullptr) return all;
  sim->check();
  std::vector<char> text(4096);
  for (size_t n = 0; sim->finding(n, text.data(), text.size()) != 0; ++n)
    all += std::string(text.data()) + "\n";
  return all;
}

inline void ClearFindings() {
  if (const ptxsim_api* sim = ptxsim_get()) sim->clear();
}

}  // namespace ptxsim_test
