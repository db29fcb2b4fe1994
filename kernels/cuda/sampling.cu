// A block per row of logits. The row stays in place; every question about it is one scan of the vocabulary.
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

// The edits of a row's draw. The functions are for the whole block, as those of sample_select.cuh.
struct Edits {
  SampleEdit* list;
  int begin, end;

  __device__ bool First(int i) const { return IsFirstEdit(list, begin, i); }
  // What the token of edit i becomes, once Remove has kept what it was.
  __device__ double After(int i) const { return Edited(list, i, end, fminf(list[i].before, kLargest)); }
  // Calls f for the first edit of each token.
  template <class F>
  __device__ void ForEach(const F& f) const {
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kSampleThreads) {
      if (First(i)) f(i);
    }
    __syncthreads();
  }
  // Leaves -infinity in the place of every edited token.
  __device__ void Remove(const LogitRow& row) const {
    ForEach([&](int i) {
      list[i].before = row.logits[list[i].token];
      row.logits[list[i].token] = -INFINITY;
    });
  }
  // Ordered, of the largest; that of -infinity if there is none.
  __device__ Mass Largest(SampleShared& shared) const {
    Mass largest = Ordered(-double{INFINITY});
    ForEach([&](int i) { largest = Larger(largest, Ordered(After(i))); });
    return BlockMax(shared, largest);
  }
  __device__ static float Rounded(double x) {
    if (!(x > -INFINITY)) return -INFINITY;
    return static_cast<float>(fmin(fmax(x, -double{kLargest}), double{kLargest}));
  }
  __device__ void Round(const LogitRow& row) const {
    ForEach([&](int i) { row.logits[list[i].token] = Rounded(After(i)); });
  }
  __device__ void Undo(const LogitRow& row) const {
    __syncthreads();
    ForEach([&](int i) { row.logits[list[i].token] = list[i].before; });
  }
};

// Of the `largest` edited tokens in order of id: the first if `greedy`, else a draw. As DrawFromEqual of
// kernels/sampling.cc.
__device__ int DrawFromEqual(SampleShared& shared, const Edits& edits, Mass largest, const SampleRow& p,
                             bool greedy) {
  const auto equal = [&](int i) {
    i += edits.begin;
    return Mass{edits.First(i) && Ordered(edits.After(i)) == largest};
  };
  Mass target = 0;
  if (!greedy) {
    Mass kept = 0;
    for (int i = threadIdx.x; i < edits.end - edits.begin; i += kSampleThreads) kept += equal(i);
    kept = BlockTotal(shared, kept);
    if (p.top_k > 0) kept = min(kept, static_cast<Mass>(p.top_k));
    if (p.top_p < 1)
      kept = max(Mass{1}, static_cast<Mass>(ceil(double{p.top_p} * static_cast<double>(kept))));
    target = Share(Uniform(p.seed, p.step), kept);
  }
  return edits.list[edits.begin + PassedAt(shared, edits.end - edits.begin, equal, target)].token;
}

// As Draw of kernels/sampling.cc. The edits are in place afterwards.
__device__ int Draw(SampleShared& shared, LogitRow row, const Edits& edits, const SampleRow& p) {
  row.allowed = p.allowed;
  edits.Remove(row);
  const Mass plain = LargestLogit(shared, row), largest = edits.Largest(shared);
  const double edited = Unordered(largest);
  row.max = fmaxf(LogitOf(plain), Edits::Rounded(edited));
  if (!(row.max > -INFINITY)) return -1;
  const bool greedy = p.temperature == 0 || p.top_k == 1;
  if (greedy && edited < LogitOf(plain)) return TokenOf(plain);
  if (edited >= LogitOf(plain) && (greedy || fabs(edited) > kLargest)) {
    const int token = DrawFromEqual(shared, edits, largest, p, greedy);
    return greedy && edited == LogitOf(plain) ? min(token, TokenOf(plain)) : token;
  }
  edits.Round(row);
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

__device__ float Logprob(float logit, const LogitRow& row, double log_sum) {
  return static_cast<float>(fmax(double{logit} - row.max - log_sum, -double{kLargest}));
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
    out[place] = {mine.token, Logprob(mine.logprob, row, log_sum)};
  }
  return count;
}

__global__ void __launch_bounds__(kSampleThreads)
    SampleKernel(Mat<float> logits, const SampleRow* rows, SampleEdit* edits, SampleResult* results,
                 TokenLogprob* top, int max_top) {
  __shared__ SampleShared shared;
  const SampleRow p = rows[blockIdx.x];
  if (p.row < 0) return;
  LogitRow row{logits.row(p.row), logits.cols, 0, 1, nullptr};
  SampleResult result{-1, 0, 0};
  const Mass largest = LargestLogit(shared, row);
  if (!IsNan(largest)) {
    row.max = LogitOf(largest);
    const bool drawn = p.scored < 0;
    if (drawn && row.max > -INFINITY) {
      const Edits row_edits{edits, p.edit_begin, p.edit_end};
      result.token = Draw(shared, row, row_edits, p);
      row_edits.Undo(row);
    } else if (!drawn && p.scored < row.vocab && row.max > -INFINITY) {
      result.token = p.scored;
    }
  }
  if (result.token >= 0 && p.top >= 0) {
    const double log_sum = LogSum(shared, row);
    result.logprob = Logprob(row.Logit(result.token), row, log_sum);
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
