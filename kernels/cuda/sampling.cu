// A block per row of logits. The row stays in place; every question about it is one pass over the vocabulary.
// Nothing is sorted: a token's place in the sorted order is found by radix selection over counts or masses.
#include "kernels/cuda/sample_select.cuh"

namespace hydrad::cuda {
namespace {

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
__device__ int DrawTopK(SampleShared& shared, const LogitRow& row, const SampleRow& p, double u) {
  const auto key = [&](int i) { return Ordered(row.Logit(i)); };
  const auto one = [&](int i) { return Mass{row.Logit(i) > -INFINITY}; };
  Mass finite = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) finite += one(i);
  finite = BlockTotal(shared, finite);
  const Mass k = min(finite, static_cast<Mass>(p.top_k));
  Cut cut = Select(shared, row.vocab, key, one, k - 1);
  const auto mass = [&](int i) { return cut.Keeps(key(i), i) ? MassOf(row.Weight(i)) : 0; };
  const auto total = [&] {
    Mass sum = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) sum += mass(i);
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
    for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) all += left(i);
    all = BlockTotal(shared, all);
  }
  return Select(shared, row.vocab, key, left, Share(u, all)).id;
}

// The same without a top_k: sets by weight, the draw in order of id. As DrawFromAll of kernels/sampling.cc.
__device__ int DrawFromAll(SampleShared& shared, const LogitRow& row, const SampleRow& p, double u) {
  const auto key = [&](int i) { return __float_as_uint(row.Weight(i)); };
  Cut cut{0, row.vocab};
  const auto mass = [&](int i) {
    const float w = row.Weight(i);
    return w < p.min_p || !cut.Keeps(__float_as_uint(w), i) ? 0 : MassOf(w);
  };
  const auto total = [&] {
    Mass sum = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) sum += mass(i);
    return BlockTotal(shared, sum);
  };
  if (p.top_p < 1) {
    const auto whole = [&](int i) { return MassOf(row.Weight(i)); };
    Mass sum = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) sum += whole(i);
    const Mass all = BlockTotal(shared, sum);
    const Mass target = static_cast<Mass>(ceil(static_cast<double>(p.top_p) * static_cast<double>(all)));
    if (target > 0 && target <= all) cut = Select(shared, row.vocab, key, whole, target - 1);
  }
  return PassedAt(shared, row.vocab, mass, Share(u, total()));
}

// Applies the edits and keeps what was there with the first edit of each token.
__device__ void Apply(const LogitRow& row, SampleEdit* edits, int begin, int end) {
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kSampleThreads) {
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
__device__ void Undo(const LogitRow& row, const SampleEdit* edits, int begin, int end) {
  __syncthreads();
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kSampleThreads) {
    if (i == begin || edits[i - 1].token != edits[i].token) row.logits[edits[i].token] = edits[i].before;
  }
  __syncthreads();
}

__device__ int Draw(SampleShared& shared, LogitRow row, const SampleRow& p) {
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
__device__ double LogSum(SampleShared& shared, const LogitRow& row) {
  double sum = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) sum += expf(row.Logit(i) - row.max);
  __syncthreads();
  return log(BlockSum(sum, shared.sums));
}

// The `top` most likely in order, none of -inf; returns how many.
__device__ int ListTop(SampleShared& shared, const LogitRow& row, int top, double log_sum,
                       TokenLogprob* out) {
  const auto key = [&](int i) { return Ordered(row.Logit(i)); };
  const auto one = [&](int i) { return Mass{row.Logit(i) > -INFINITY}; };
  Mass finite = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) finite += one(i);
  const int count = static_cast<int>(min(BlockTotal(shared, finite), static_cast<Mass>(top)));
  if (count == 0) return 0;
  const Cut cut = Select(shared, row.vocab, key, one, count - 1);
  if (threadIdx.x == 0) shared.count = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) {
    if (cut.Keeps(key(i), i)) shared.listed[atomicAdd(&shared.count, 1)] = {i, row.Logit(i)};
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += kSampleThreads) {
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

__global__ void __launch_bounds__(kSampleThreads)
    SampleKernel(Mat<float> logits, const SampleRow* rows, SampleEdit* edits, SampleResult* results,
                 TokenLogprob* top, int max_top) {
  __shared__ SampleShared shared;
  const SampleRow p = rows[blockIdx.x];
  if (p.row < 0) return;
  LogitRow row{logits.row(p.row), logits.cols, 0, 1};
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
  return Launch(SampleKernel, count, kSampleThreads, 0, stream, logits, rows, edits, results, top, max_top);
}

}  // namespace hydrad::cuda
