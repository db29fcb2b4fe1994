#include "kernels/lora.h"

#include "kernels/simd/pool.h"

namespace hydrad {

template <class T>
size_t LoraScratchBytes(std::span<const LoraRun<T>>) {
  return 64;
}
template size_t LoraScratchBytes<bf16>(std::span<const LoraRun<bf16>>);
template size_t LoraScratchBytes<float>(std::span<const LoraRun<float>>);

namespace simd {

template <class T>
void AddLora(Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
             std::span<std::byte>) {
  pool.Run(static_cast<int>(runs.size()), [&](int i) { ref::AddLora(y, x, runs.subspan(i, 1)); });
}
template void AddLora<bf16>(Pool&, Mat<float>, Mat<const float>, std::span<const LoraRun<bf16>>,
                            std::span<std::byte>);
template void AddLora<float>(Pool&, Mat<float>, Mat<const float>, std::span<const LoraRun<float>>,
                             std::span<std::byte>);

}  // namespace simd
}  // namespace hydrad
