#include "kernels/elementwise.h"

#include <algorithm>

#include "kernels/simd/by_isa.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/pool.h"

namespace hydrad::simd {
namespace {

// Below this many elements the caller does all of it: waking a worker would take longer.
constexpr int64_t kAlone = 16 * 1024;

// Calls row(r) for every row, several rows a task.
template <class F>
void ForRows(Pool& pool, int rows, int cols, const F& row) {
  if (int64_t{rows} * cols <= kAlone) {
    for (int r = 0; r < rows; ++r) row(r);
    return;
  }
  const int share = std::max(1, rows / (4 * pool.threads()));
  pool.Run((rows + share - 1) / share, [&](int i) {
    for (int r = i * share; r < std::min((i + 1) * share, rows); ++r) row(r);
  });
}

}  // namespace

void RmsNorm(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x, const float* weight, int width,
             float eps) {
  const Table& table = TableFor(isa);
  ForRows(pool, x.rows, x.cols, [&](int r) {
    for (int c = 0; c + width <= x.cols; c += width) {
      table.rms_norm(y.row(r) + c, x.row(r) + c, weight, width, eps);
    }
  });
}

void Rope(Isa isa, Pool& pool, Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin) {
  const Table& table = TableFor(isa);
  ForRows(pool, x.rows, heads * head_dim, [&](int r) {
    for (int h = 0; h < heads; ++h) table.rope(x.row(r) + h * head_dim, head_dim, cos_sin.row(r));
  });
}

void SiluMul(Isa isa, Pool& pool, Mat<float> y, Mat<const float> gate_up) {
  const Table& table = TableFor(isa);
  ForRows(pool, y.rows, y.cols,
          [&](int r) { table.silu_mul(y.row(r), gate_up.row(r), gate_up.row(r) + y.cols, y.cols); });
}

void Add(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x) {
  const Table& table = TableFor(isa);
  ForRows(pool, y.rows, y.cols, [&](int r) { table.add(y.row(r), x.row(r), y.cols); });
}

void RmsNorm(Pool& pool, Mat<float> y, Mat<const float> x, const float* weight, int width, float eps) {
  RmsNorm(ActiveIsa(), pool, y, x, weight, width, eps);
}
void Rope(Pool& pool, Mat<float> x, int heads, int head_dim, Mat<const float> cos_sin) {
  Rope(ActiveIsa(), pool, x, heads, head_dim, cos_sin);
}
void SiluMul(Pool& pool, Mat<float> y, Mat<const float> gate_up) { SiluMul(ActiveIsa(), pool, y, gate_up); }
void Add(Pool& pool, Mat<float> y, Mat<const float> x) { Add(ActiveIsa(), pool, y, x); }

}  // namespace hydrad::simd
