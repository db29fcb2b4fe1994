// What the sampling kernel asks of a row of logits. Each question is one scan of the vocabulary by the block,
// but for Select, which is five.
//
// Sums over tokens are of Mass: whole multiples of 2^-40 of the largest weight, which is 1, in 64 bits. They
// are exact whatever their order, and a vocabulary of fewer than 2^24 tokens cannot overflow them; a weight
// up to 2^-41 counts as nothing. Orders are those of the reference: by logit descending, of equals the lower
// id first. Instead of sorting, Select finds the place at which a running sum passes a target by radix
// selection: four scans, each of which decides eight bits of the key, and one that finds the token among
// those that tie.
//
// All functions are for a block of kSampleThreads threads, all of which call them together with the same
// arguments, unless they say otherwise; those that take SampleShared have barriers of their own, give every
// thread the same answer, and may be called one after the other. logits [vocab] are f32 in device memory.
#ifndef HYDRAD_KERNELS_CUDA_SAMPLE_SELECT_CUH_
#define HYDRAD_KERNELS_CUDA_SAMPLE_SELECT_CUH_

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {

inline constexpr int kSampleThreads = 1024, kSampleWarps = kSampleThreads / 32;
inline constexpr float kLargest = 3.402823466e+38f;  // of a float: what infinite logits count as
using Mass = unsigned long long;

// A place in an order of tokens by descending key, then ascending id: what stands up to it, itself included,
// is kept.
struct Cut {
  uint32_t key;
  int id;
  __device__ __forceinline__ bool Keeps(uint32_t k, int i) const { return k > key || (k == key && i <= id); }
};

// The block's shared memory. What one function leaves in it means nothing to the next, but for `listed`.
struct SampleShared {
  Mass bins[256];             // sums by the eight bits that are being decided
  Mass words[kSampleWarps];   // one of each warp
  double sums[kSampleWarps];  // likewise
  Mass above;                 // before the chosen bin
  uint32_t bin;               // the chosen one
  int id;                     // of the token that was found, or -1
  int count;                  // of `listed`
  TokenLogprob listed[kSampleMaxTop];
};

// Maps floats without NaN to integers of the same order. The two zeros are one: -0 + 0 is 0.
__device__ __forceinline__ uint32_t Ordered(float x) {
  const uint32_t u = __float_as_uint(x + 0.f);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
// The same for doubles, and back.
__device__ __forceinline__ Mass Ordered(double x) {
  const Mass u = static_cast<Mass>(__double_as_longlong(x + 0.0));
  return u >> 63 ? ~u : u | Mass{1} << 63;
}
__device__ __forceinline__ double Unordered(Mass u) {
  return __longlong_as_double(static_cast<long long>(u >> 63 ? u & ~(Mass{1} << 63) : ~u));
}

__device__ __forceinline__ Mass Larger(Mass a, Mass b) { return a > b ? a : b; }

// Returns the largest x, and the sum of x, of all threads of the block.
__device__ inline Mass BlockMax(SampleShared& shared, Mass x) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) x = Larger(x, __shfl_xor_sync(kAllLanes, x, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.words[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared.words[0];
  for (int w = 1; w < kSampleWarps; ++w) x = Larger(x, shared.words[w]);
  return x;
}
__device__ inline Mass BlockTotal(SampleShared& shared, Mass x) {
  __syncthreads();
  return BlockSum(x, shared.words);
}

// One row with its edits applied, and how its tokens weigh: exp((logit - max) / temperature), so that the
// largest weighs 1. Infinite logits count as the largest float, and tokens that are not allowed as -infinity,
// which weigh 0.
struct LogitRow {
  float* logits;  // [vocab]
  int vocab;
  float max, temperature;   // max is what Logit gives at most; temperature is above 0
  const uint32_t* allowed;  // [ceil(vocab / 32)] a bit for each token, the lowest first; null: all

  __device__ __forceinline__ bool Allows(int i) const {
    return allowed == nullptr || (allowed[i / 32] >> (i % 32) & 1) != 0;
  }
  __device__ __forceinline__ float Logit(int i) const {
    return Allows(i) ? fminf(logits[i], kLargest) : -INFINITY;
  }
  __device__ __forceinline__ float Weight(int i) const { return expf((Logit(i) - max) / temperature); }
};
// Returns a weight of 0 to 1 as Mass, rounded to nearest.
__device__ __forceinline__ Mass MassOf(float weight) { return __float2ull_rn(weight * 0x1p40f); }

// Returns the largest logit of the row and the first token that has it, in one word that orders as they do:
// the logit, Ordered, in the upper half and the complement of the token in the lower. It is all ones if a
// token that is allowed has a NaN. IsNan, LogitOf and TokenOf take the word apart.
__device__ inline Mass LargestLogit(SampleShared& shared, const LogitRow& row) {
  Mass best = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) {
    const float x = row.Allows(i) ? row.logits[i] : -INFINITY;
    best = Larger(best,
                  isnan(x) ? ~Mass{0} : Mass{Ordered(fminf(x, kLargest))} << 32 | ~static_cast<uint32_t>(i));
  }
  return BlockMax(shared, best);
}
__device__ __forceinline__ bool IsNan(Mass largest) { return largest == ~Mass{0}; }
// The logit comes from the word and not from the row, which other threads may be editing by now.
__device__ __forceinline__ float LogitOf(Mass largest) {
  const uint32_t u = static_cast<uint32_t>(largest >> 32);
  return __uint_as_float(u & 0x80000000u ? u & 0x7fffffffu : ~u);
}
__device__ __forceinline__ int TokenOf(Mass largest) {
  return static_cast<int>(~static_cast<uint32_t>(largest));
}

// The consecutive tokens [begin, end) that the calling thread's warp scans. Warps have them in order, so that
// an order by id is one by warp, then lane.
struct Span {
  int begin, end;
  __device__ explicit Span(int vocab) {
    const int each = RoundUp(CeilDiv(vocab, kSampleWarps), 32), warp = threadIdx.x / 32;
    begin = min(vocab, warp * each);
    end = min(vocab, begin + each);
  }
};

// Returns the first token by id at which the running sum of amount(i) exceeds `target`; -1 if none does.
// amount(i) is a pure function that gives the Mass of token i.
template <class Amount>
__device__ int PassedAt(SampleShared& shared, int vocab, const Amount& amount, Mass target) {
  const Span span(vocab);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Mass sum = 0;
  for (int i = span.begin + lane; i < span.end; i += 32) sum += amount(i);
  sum = WarpSum(sum);
  __syncthreads();
  if (lane == 0) shared.words[warp] = sum;
  if (threadIdx.x == 0) shared.id = -1;
  __syncthreads();
  Mass before = 0;
  for (int w = 0; w < warp; ++w) before += shared.words[w];
  if (before <= target && before + sum > target) {  // true of one warp at most
    for (int begin = span.begin; begin < span.end; begin += 32) {
      Mass running = begin + lane < span.end ? amount(begin + lane) : 0;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const Mass other = __shfl_up_sync(kAllLanes, running, step);
        if (lane >= step) running += other;
      }
      const unsigned passed = __ballot_sync(kAllLanes, before + running > target);
      if (passed != 0) {
        if (lane == 0) shared.id = begin + __ffs(passed) - 1;
        break;
      }
      before += __shfl_sync(kAllLanes, running, 31);
    }
  }
  __syncthreads();
  return shared.id;
}

// Fills shared.bins with the sums of amount(i) by the eight bits of key(i) from `shift` on, over the tokens
// whose key has the bits of `prefix` above them.
template <class Key, class Amount>
__device__ void FillBins(SampleShared& shared, int vocab, const Key& key, const Amount& amount,
                         uint32_t prefix, int shift) {
  __syncthreads();
  for (int b = threadIdx.x; b < 256; b += kSampleThreads) shared.bins[b] = 0;
  __syncthreads();
  uint32_t bin = 0;
  Mass sum = 0;  // of a stretch of tokens in one bin: neighbours often share it
  for (int i = threadIdx.x; i < vocab; i += kSampleThreads) {
    const uint32_t k = key(i);
    if (shift < 24 && k >> (shift + 8) != prefix >> (shift + 8)) continue;
    const uint32_t b = k >> shift & 255;
    if (b != bin && sum > 0) atomicAdd(&shared.bins[bin], sum), sum = 0;
    bin = b;
    sum += amount(i);
  }
  if (sum > 0) atomicAdd(&shared.bins[bin], sum);
  __syncthreads();
}

// Sets shared.bin to the bin in which the sum from the last bin downwards exceeds `target`, and shared.above
// to the sum before it; sets neither if all bins together do not exceed it. Only the first warp calls this; a
// lane has eight bins. The caller has the barriers.
__device__ inline void FindBin(SampleShared& shared, Mass target) {
  const int lane = threadIdx.x, last = 255 - lane * 8;
  Mass sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += shared.bins[last - i];
  Mass running = sum;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const Mass other = __shfl_up_sync(kAllLanes, running, step);
    if (lane >= step) running += other;
  }
  Mass above = running - sum;
  if (above > target || running <= target) return;
  int b = last;
  while (above + shared.bins[b] <= target) above += shared.bins[b--];
  shared.bin = b;
  shared.above = above;
}

// Returns the first token in descending order of key, then ascending id, at which the running sum of
// amount(i) exceeds `target`. key(i) and amount(i) are pure functions of the token. REQUIRES: all amounts
// together exceed it; tokens of one key have one amount, or none.
template <class Key, class Amount>
__device__ Cut Select(SampleShared& shared, int vocab, const Key& key, const Amount& amount, Mass target) {
  uint32_t prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    FillBins(shared, vocab, key, amount, prefix, shift);
    if (threadIdx.x < 32) FindBin(shared, target);
    __syncthreads();
    prefix |= shared.bin << shift;
    target -= shared.above;
  }
  const auto tied = [&](int i) { return key(i) == prefix ? amount(i) : 0; };
  return {prefix, PassedAt(shared, vocab, tied, target)};
}

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_SAMPLE_SELECT_CUH_
