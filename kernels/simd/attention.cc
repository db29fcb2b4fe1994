#include "kernels/attention.h"

#include "kernels/simd/pool.h"

namespace hydrad::simd {

template <class T>
void WriteKv(Pool&, KvLayer<T> kv, Mat<const float> k, Mat<const float> v, std::span<const int32_t> slots) {
  ref::WriteKv(kv, k, v, slots);
}
template <class T>
void Attend(Pool& pool, Mat<float> out, Mat<const float> q, KvLayer<T> kv,
            std::span<const AttentionSegment> segments, float scale) {
  pool.Run(static_cast<int>(segments.size()),
           [&](int i) { ref::Attend(out, q, kv, segments.subspan(i, 1), scale); });
}

template void WriteKv<bf16>(Pool&, KvLayer<bf16>, Mat<const float>, Mat<const float>,
                            std::span<const int32_t>);
template void WriteKv<float>(Pool&, KvLayer<float>, Mat<const float>, Mat<const float>,
                             std::span<const int32_t>);
template void Attend<bf16>(Pool&, Mat<float>, Mat<const float>, KvLayer<bf16>,
                           std::span<const AttentionSegment>, float);
template void Attend<float>(Pool&, Mat<float>, Mat<const float>, KvLayer<float>,
                            std::span<const AttentionSegment>, float);

}  // namespace hydrad::simd
