// A block per row of logits. The row stays in place; every question about it is one pass over the vocabulary.
// Nothing is sorted: a token's place in the sorted order is found by radix selection over counts or masses.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;
constexpr float kLargest = 3.402823466e+38f;  // of a float: what infinite logits count as
using Mass = unsigned long long;

// Tokens up to here in an order: larger keys first, then lower ids.
struct Cut {
  uint32_t key;
  int id;
  __device__ __forceinline__ bool Keeps(uint32_t k, int i) const { return k > key || (k == key && i <= id); }
};

struct Shared {
  Mass bins[256];
  Mass words[kWarps];
  double sums[kWarps];
  Mass above;  // before the chosen bin
  uint32_t bin;
  int id;
  int count;
  TokenLogprob listed[kSampleMaxTop];
};

// Order of floats without NaN as order of integers.
__device__ __forceinline__ uint32_t Ordered(float x) {
  const uint32_t u = __float_as_uint(x);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}

__device__ __forceinline__ Mass Larger(Mass a, Mass b) { return a > b ? a : b; }

// Over the block, for every thread.
__device__ Mass BlockMax(Shared& shared, Mass x) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) x = Larger(x, __shfl_xor_sync(kAllLanes, x, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.words[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared.words[0];
  for (int w = 1; w < kWarps; ++w) x = Larger(x, shared.words[w]);
  return x;
}
__device__ Mass BlockTotal(Shared& shared, Mass x) {
  __syncthreads();
  return BlockSum(x, shared.words);
}

// One row with its edits, and how it weighs.
struct Row {
  float* logits;
  int vocab;
  float max, temperature;

  __device__ __forceinline__ float Logit(int i) const { return fminf(logits[i], kLargest); }
  __device__ __forceinline__ float Weight(int i) const { return expf((Logit(i) - max) / temperature); }
};
__device__ __forceinline__ Mass MassOf(float weight) { return __float2ull_rn(weight * 0x1p40f); }

// The largest logit in the upper half, in the lower the complement of the first token that has it. With a NaN
// in the row all ones.
__device__ Mass LargestLogit(Shared& shared, const Row& row) {
  Mass best = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) {
    const float x = row.logits[i];
    best = Larger(best,
                  isnan(x) ? ~Mass{0} : Mass{Ordered(fminf(x, kLargest))} << 32 | ~static_cast<uint32_t>(i));
  }
  return BlockMax(shared, best);
}
__device__ __forceinline__ bool IsNan(Mass largest) { return largest == ~Mass{0}; }
// Not read again from the row, which other threads may be editing by now.
__device__ __forceinline__ float LogitOf(Mass largest) {
  const uint32_t u = static_cast<uint32_t>(largest >> 32);
  return __uint_as_float(u & 0x80000000u ? u & 0x7fffffffu : ~u);
}
__device__ __forceinline__ int TokenOf(Mass largest) {
  return static_cast<int>(~static_cast<uint32_t>(largest));
}

// Each warp has a run of consecutive tokens, so that orders by id are orders by warp, then lane.
struct Span {
  int begin, end;
  __device__ explicit Span(int vocab) {
    const int each = RoundUp(CeilDiv(vocab, kWarps), 32), warp = threadIdx.x / 32;
    begin = min(vocab, warp * each);
    end = min(vocab, begin + each);
  }
};

// The first token by id at which the running sum of amount(i) passes `target`; -1 if none does.
template <class Amount>
__device__ int PassedAt(Shared& shared, int vocab, const Amount& amount, Mass target) {
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

// Sums amount(i) of the tokens whose key begins with `prefix` above bit `shift + 8` by the next eight bits.
template <class Key, class Amount>
__device__ void FillBins(Shared& shared, int vocab, const Key& key, const Amount& amount, uint32_t prefix,
                         int shift) {
  __syncthreads();
  for (int b = threadIdx.x; b < 256; b += kThreads) shared.bins[b] = 0;
  __syncthreads();
  uint32_t bin = 0;
  Mass sum = 0;  // of a stretch of tokens in one bin: neighbours often share it
  for (int i = threadIdx.x; i < vocab; i += kThreads) {
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

// The bin in which the sum from the last bin downwards passes `target`, and the sum before it. One warp; a
// lane has eight bins.
__device__ void FindBin(Shared& shared, Mass target) {
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

// The first token in descending order of key, then ascending id, at which the running sum of amount(i) passes
// `target`. Tokens of one key have one amount, or none.
// REQUIRES: all amounts together pass it.
template <class Key, class Amount>
__device__ Cut Select(Shared& shared, int vocab, const Key& key, const Amount& amount, Mass target) {
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

// u * total, below total.
__device__ __forceinline__ Mass Share(double u, Mass total) {
  const Mass share = static_cast<Mass>(u * static_cast<double>(total));
  return share < total ? share : total - 1;
}

__device__ uint4 Philox(uint4 counter, uint2 key) {
  for (int round = 0; round < 10; ++round) {
    const Mass a = Mass{0xD2511F53} * counter.x, b = Mass{0xCD9E8D57} * counter.z;
    counter = make_uint4(static_cast<uint32_t>(b >> 32) ^ counter.y ^ key.x, static_cast<uint32_t>(b),
                         static_cast<uint32_t>(a >> 32) ^ counter.w ^ key.y, static_cast<uint32_t>(a));
    key.x += 0x9E3779B9;
    key.y += 0xBB67AE85;
  }
  return counter;
}
// kernels/philox.h PhiloxUniform.
__device__ double Uniform(uint64_t seed, uint64_t step) {
  const uint4 r = Philox(make_uint4(static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), 0, 0),
                         make_uint2(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)));
  return static_cast<double>((Mass{r.x} << 32 | r.y) >> 11) * 0x1p-53;
}

// The k most likely, of them the smallest set that reaches top_p, of it what min_p leaves: then a draw in
// sorted order. As DrawTopK of kernels/sampling.cc.
__device__ int DrawTopK(Shared& shared, const Row& row, const SampleRow& p, double u) {
  const auto key = [&](int i) { return Ordered(row.Logit(i)); };
  const auto one = [&](int i) { return Mass{row.Logit(i) > -INFINITY}; };
  Mass finite = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) finite += one(i);
  finite = BlockTotal(shared, finite);
  const Mass k = min(finite, static_cast<Mass>(p.top_k));
  Cut cut = Select(shared, row.vocab, key, one, k - 1);
  const auto mass = [&](int i) { return cut.Keeps(key(i), i) ? MassOf(row.Weight(i)) : 0; };
  const auto total = [&] {
    Mass sum = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kThreads) sum += mass(i);
    return BlockTotal(shared, sum);
  };
  Mass all = total();
  if (p.top_p < 1) {
    const double reach = static_cast<double>(p.top_p) * static_cast<double>(all);
    if (reach <= static_cast<double>(all)) {
      const Mass target = static_cast<Mass>(ceil(reach));
      cut = Select(shared, row.vocab, key, mass, target > 0 ? target - 1 : 0);
    }
    all = total();
  }
  // min_p never drops the most likely, whose weight is 1.
  const auto left = [&](int i) { return row.Weight(i) < p.min_p && row.Weight(i) < 1 ? 0 : mass(i); };
  if (p.min_p > 0) {
    all = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kThreads) all += left(i);
    all = BlockTotal(shared, all);
  }
  return Select(shared, row.vocab, key, left, Share(u, all)).id;
}

// The same without a top_k: sets by weight, the draw in order of id. As DrawFromAll of kernels/sampling.cc.
__device__ int DrawFromAll(Shared& shared, const Row& row, const SampleRow& p, double u) {
  const auto key = [&](int i) { return __float_as_uint(row.Weight(i)); };
  Cut cut{0, row.vocab};
  const auto mass = [&](int i) {
    const float w = row.Weight(i);
    return w < p.min_p || !cut.Keeps(__float_as_uint(w), i) ? 0 : MassOf(w);
  };
  const auto total = [&] {
    Mass sum = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kThreads) sum += mass(i);
    return BlockTotal(shared, sum);
  };
  if (p.top_p < 1) {
    const auto whole = [&](int i) { return MassOf(row.Weight(i)); };
    Mass sum = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kThreads) sum += whole(i);
    const Mass all = BlockTotal(shared, sum);
    const Mass target = static_cast<Mass>(ceil(static_cast<double>(p.top_p) * static_cast<double>(all)));
    if (target > 0 && target <= all) cut = Select(shared, row.vocab, key, whole, target - 1);
  }
  return PassedAt(shared, row.vocab, mass, Share(u, total()));
}

// Applies the edits and keeps what was there with the first edit of each token.
__device__ void Apply(const Row& row, SampleEdit* edits, int begin, int end) {
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
    const int token = edits[i].token;
    if (i > begin && edits[i - 1].token == token) continue;
    edits[i].before = row.logits[token];
    float x = row.Logit(token);
    for (int j = i; j < end && edits[j].token == token; ++j) {
      const float value = edits[j].value;
      switch (edits[j].op) {
        case SampleEdit::Op::kAdd:
          x += value;
          break;
        case SampleEdit::Op::kRepetition:
          x = x > 0 ? x / value : x * value;
          break;
        case SampleEdit::Op::kBan:
          x = -INFINITY;
          break;
      }
    }
    row.logits[token] = x;
  }
  __syncthreads();
}
__device__ void Undo(const Row& row, const SampleEdit* edits, int begin, int end) {
  __syncthreads();
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
    if (i == begin || edits[i - 1].token != edits[i].token) row.logits[edits[i].token] = edits[i].before;
  }
  __syncthreads();
}

__device__ int Draw(Shared& shared, Row row, const SampleRow& p) {
  const Mass largest = LargestLogit(shared, row);
  if (IsNan(largest)) return -1;
  row.max = LogitOf(largest);
  if (!(row.max > -INFINITY)) return -1;
  if (p.temperature == 0) return TokenOf(largest);
  row.temperature = p.temperature;
  const double u = Uniform(p.seed, p.step);
  return p.top_k > 0 ? DrawTopK(shared, row, p, u) : DrawFromAll(shared, row, p, u);
}

// Log of the sum of exp(logit - max).
__device__ double LogSum(Shared& shared, const Row& row) {
  double sum = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) sum += expf(row.Logit(i) - row.max);
  __syncthreads();
  return log(BlockSum(sum, shared.sums));
}

// The `top` most likely in order, none of -inf; returns how many.
__device__ int ListTop(Shared& shared, const Row& row, int top, double log_sum, TokenLogprob* out) {
  const auto key = [&](int i) { return Ordered(row.Logit(i)); };
  const auto one = [&](int i) { return Mass{row.Logit(i) > -INFINITY}; };
  Mass finite = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) finite += one(i);
  const int count = static_cast<int>(min(BlockTotal(shared, finite), static_cast<Mass>(top)));
  if (count == 0) return 0;
  const Cut cut = Select(shared, row.vocab, key, one, count - 1);
  if (threadIdx.x == 0) shared.count = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < row.vocab; i += kThreads) {
    if (cut.Keeps(key(i), i)) shared.listed[atomicAdd(&shared.count, 1)] = {i, row.Logit(i)};
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const TokenLogprob mine = shared.listed[i];
    int place = 0;
    for (int j = 0; j < count; ++j) {
      const TokenLogprob other = shared.listed[j];
      place += other.logprob > mine.logprob || (other.logprob == mine.logprob && other.token < mine.token);
    }
    out[place] = {mine.token, static_cast<float>(double{mine.logprob} - row.max - log_sum)};
  }
  return count;
}

__global__ void __launch_bounds__(kThreads)
    SampleKernel(Mat<float> logits, const SampleRow* rows, SampleEdit* edits, SampleResult* results,
                 TokenLogprob* top, int max_top) {
  __shared__ Shared shared;
  const SampleRow p = rows[blockIdx.x];
  if (p.row < 0) return;
  Row row{logits.row(p.row), logits.cols, 0, 1};
  SampleResult result{-1, 0, 0};
  const Mass largest = LargestLogit(shared, row);
  if (!IsNan(largest)) {
    row.max = LogitOf(largest);
    const bool drawn = p.scored < 0;
    if (drawn && row.max > -INFINITY) {
      Apply(row, edits, p.edit_begin, p.edit_end);
      result.token = Draw(shared, row, p);
      Undo(row, edits, p.edit_begin, p.edit_end);
    } else if (!drawn && p.scored < row.vocab && isfinite(row.logits[TokenOf(largest)])) {
      result.token = p.scored;
    }
  }
  if (result.token >= 0 && p.top >= 0) {
    const double log_sum = LogSum(shared, row);
    result.logprob = static_cast<float>(double{row.Logit(result.token)} - row.max - log_sum);
    result.top_count =
        ListTop(shared, row, min(p.top, max_top), log_sum, top + int64_t{blockIdx.x} * max_top);
  }
  if (threadIdx.x == 0) results[blockIdx.x] = result;
}

}  // namespace

cudaError_t Sample(Mat<float> logits, const SampleRow* rows, int count, SampleEdit* edits,
                   SampleResult* results, TokenLogprob* top, int max_top, cudaStream_t stream) {
  if (max_top < 0 || max_top > kSampleMaxTop || logits.cols < 1) return cudaErrorInvalidValue;
  if (count == 0) return cudaSuccess;
  return Launch(SampleKernel, count, kThreads, 0, stream, logits, rows, edits, results, top, max_top);
}

}  // namespace hydrad::cuda
