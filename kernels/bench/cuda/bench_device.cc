#include "kernels/bench/cuda/bench_device.h"

#include <algorithm>
#include <utility>

namespace hydrad::bench {
namespace {

constexpr size_t kFlush = size_t{256} << 20;
constexpr int kRuns = 21;

float Cell(uint32_t i) {
  i = (i % 4096 + 1) * 2654435761u;
  return static_cast<float>(i >> 8) / (1 << 23) - 1;
}

void Put(float& to, float x) { to = x; }
void Put(bf16& to, float x) { to = ToBf16(x); }

}  // namespace

template <class T>
Array<T> Noise(size_t count, float size) {
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) Put(values[i], size * Cell(static_cast<uint32_t>(i)));
  return Array<T>(values);
}
template Array<float> Noise(size_t, float);
template Array<bf16> Noise(size_t, float);

Bench::Bench(bool check, double peak_gbs, double peak_tflops)
    : check_(check), peak_gbs_(peak_gbs), peak_tflops_(peak_tflops), flush_(check ? 1 : kFlush) {
  Check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, 0));
  Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  Check(cudaEventCreateWithFlags(&begin_, cudaEventDefault));
  Check(cudaEventCreateWithFlags(&end_, cudaEventDefault));
}

Bench::~Bench() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
  cudaStreamDestroy(stream_);
}

float Bench::Once(const std::function<void()>& launch) {
  Check(cudaMemsetAsync(flush_.data(), 0, kFlush, stream_));
  Check(cudaEventRecord(begin_, stream_));
  launch();
  Check(cudaEventRecord(end_, stream_));
  Check(cudaStreamSynchronize(stream_));
  float ms = 0;
  Check(cudaEventElapsedTime(&ms, begin_, end_));
  return ms * 1000;
}

double Bench::Time(const std::string& name, const Work& work, const std::function<void()>& launch) {
  if (check_) {
    launch();
    Check(cudaStreamSynchronize(stream_));
    std::printf("%-58s ran\n", name.c_str());
    return 0;
  }
  std::vector<float> us;
  for (int i = 0; i < kRuns; ++i) us.push_back(Once(launch));
  std::nth_element(us.begin(), us.begin() + kRuns / 2, us.end());
  const double median = us[kRuns / 2], gbs = work.bytes / median / 1e3, tflops = work.flops / median / 1e6;
  std::printf("%-58s %10.1f us %8.0f GB/s %8.1f TFLOP/s", name.c_str(), median, gbs, tflops);
  if (peak_gbs_ > 0) std::printf("  %5.1f %% of bandwidth", 100 * gbs / peak_gbs_);
  if (peak_tflops_ > 0) std::printf("  %5.1f %% of FLOP/s", 100 * tflops / peak_tflops_);
  std::printf("\n");
  return median;
}

}  // namespace hydrad::bench
