#include "server/backend/cpu/vocabulary.h"

#include <algorithm>

#include "kernels/simd/pool.h"

namespace hydrad {
namespace {

size_t Align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// One run's rows, all of them, in y and x.
template <class T>
void AddRun(simd::Pool& pool, Mat<float> y, Mat<const float> x, const LoraGroup<T>& group, float weight,
            std::span<std::byte> scratch) {
  LoraRun<T> run{};
  run.row_begin = 0;
  run.row_end = y.rows;
  run.group = &group;
  run.weight = weight;
  simd::AddLora(pool, y, x, std::span<const LoraRun<T>>(&run, 1), scratch);
}
template <class T>
size_t RunBytes(const LoraGroup<T>& group, int rows) {
  LoraRun<T> run{};
  run.row_end = rows;
  run.group = &group;
  return LoraScratchBytes(std::span<const LoraRun<T>>(&run, 1));
}

void TakeOwnEmbeddings(simd::Pool& pool, std::span<const int32_t> tokens, Mat<float> out,
                       const PackedRows& own) {
  pool.Run(out.rows, [&](int r) {
    const int row = own.Find(tokens[r]);
    if (row >= 0) simd::UnpackRow(own.matrix, row, out.row(r));
  });
}

template <class T>
void AddEmbeddingLora(simd::Pool& pool, std::span<const int32_t> tokens, Mat<float> out, float weight,
                      const Vocabulary<T>& v, Scratch& scratch) {
  const int rank = v.after.in;
  const size_t looked_up = Align64(sizeof(float) * out.rows * rank);
  const std::span<std::byte> memory = scratch.AtLeast(looked_up + RunBytes(v.after, out.rows));
  const Mat<float> u{reinterpret_cast<float*>(memory.data()), out.rows, rank, rank};
  for (int r = 0; r < out.rows; ++r) {
    const T* a = v.a + static_cast<size_t>(tokens[r]) * rank;
    for (int j = 0; j < rank; ++j) u.row(r)[j] = ToFloat(a[j]);
  }
  AddRun<T>(pool, out, u, v.after, weight, memory.subspan(looked_up));
}

// logits of the tokens that have rows of their own = x . row.
void TakeOwnLogits(simd::Pool& pool, Mat<float> logits, Mat<const float> x, const PackedRows& own,
                   Scratch& scratch) {
  const size_t gemm = Align64(simd::GemmScratchBytes(own.matrix.type, x.rows, x.cols));
  if (own.places.empty()) {
    const Mat<float> all{logits.data, logits.rows, own.matrix.n, logits.stride};
    simd::Gemm(pool, all, x, own.matrix, nullptr, scratch.AtLeast(gemm));
    return;
  }
  const int n = own.matrix.n;
  const std::span<std::byte> memory = scratch.AtLeast(gemm + sizeof(float) * x.rows * n);
  const Mat<float> y{reinterpret_cast<float*>(memory.data() + gemm), x.rows, n, n};
  simd::Gemm(pool, y, x, own.matrix, nullptr, memory.first(gemm));
  for (int r = 0; r < x.rows; ++r) {
    for (const PackedRows::Place& place : own.places) logits.row(r)[place.token] = y.row(r)[place.row];
  }
}

}  // namespace

int PackedRows::Find(int32_t token) const {
  if (places.empty()) return token < matrix.n ? token : -1;
  const auto found = std::ranges::lower_bound(places, token, {}, &Place::token);
  return found == places.end() || found->token != token ? -1 : found->row;
}

template <class T>
void AdaptEmbedding(simd::Pool& pool, const Batch& batch, std::span<const Vocabulary<T>* const> ends,
                    Mat<float> out, Scratch& scratch) {
  for (size_t i = 0; i < ends.size(); ++i) {
    const Batch::Run& run = batch.runs[i];
    const Vocabulary<T>* v = ends[i];
    if (v == nullptr) continue;
    const int count = run.row_end - run.row_begin;
    const Mat<float> rows = out.Rows(run.row_begin, count);
    const std::span<const int32_t> tokens(batch.tokens.data() + run.row_begin, static_cast<size_t>(count));
    if (v->embedding.matrix.n > 0) TakeOwnEmbeddings(pool, tokens, rows, v->embedding);
    if (v->a != nullptr) AddEmbeddingLora(pool, tokens, rows, run.weight, *v, scratch);
  }
}

template <class T>
void AdaptHead(simd::Pool& pool, const Batch& batch, std::span<const Vocabulary<T>* const> ends,
               Mat<float> logits, Mat<const float> x, Scratch& scratch) {
  const auto index = [&](int row) {
    return static_cast<int>(std::ranges::lower_bound(batch.logit_rows, row) - batch.logit_rows.begin());
  };
  for (size_t i = 0; i < ends.size(); ++i) {
    const Batch::Run& run = batch.runs[i];
    const Vocabulary<T>* v = ends[i];
    const int begin = v == nullptr ? 0 : index(run.row_begin), end = v == nullptr ? 0 : index(run.row_end);
    if (begin == end) continue;
    const Mat<float> y = logits.Rows(begin, end - begin);
    const Mat<const float> rows = x.Rows(begin, end - begin);
    if (v->head.matrix.n > 0) TakeOwnLogits(pool, y, rows, v->head, scratch);
    if (v->head_lora.members.empty()) continue;
    AddRun<T>(pool, y, rows, v->head_lora, run.weight, scratch.AtLeast(RunBytes(v->head_lora, y.rows)));
  }
}

template void AdaptEmbedding<bf16>(simd::Pool&, const Batch&, std::span<const Vocabulary<bf16>* const>,
                                   Mat<float>, Scratch&);
template void AdaptEmbedding<float>(simd::Pool&, const Batch&, std::span<const Vocabulary<float>* const>,
                                    Mat<float>, Scratch&);
template void AdaptHead<bf16>(simd::Pool&, const Batch&, std::span<const Vocabulary<bf16>* const>, Mat<float>,
                              Mat<const float>, Scratch&);
template void AdaptHead<float>(simd::Pool&, const Batch&, std::span<const Vocabulary<float>* const>,
                               Mat<float>, Mat<const float>, Scratch&);

}  // namespace hydrad
