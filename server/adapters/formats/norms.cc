#include "server/adapters/formats/norms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "server/backend/host_rows.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

std::vector<float> Floats(const HostMatrix& m) {
  std::vector<float> values(static_cast<size_t>(m.rows) * m.cols);
  CopyRows(m, 0, m.rows, values.data());
  return values;
}

// The transpose of a row-major [rows, cols] matrix.
std::vector<float> Transposed(const std::vector<float>& values, int rows, int cols) {
  std::vector<float> result(values.size());
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) {
      result[static_cast<size_t>(j) * rows + i] = values[static_cast<size_t>(i) * cols + j];
    }
  }
  return result;
}

// change = sum over j of coefficients[j] * rows[j], with `rows` [coefficients, change].
void Combine(std::span<const float> coefficients, const float* rows, std::span<float> change) {
  std::ranges::fill(change, 0.0f);
  for (const float c : coefficients) {
    for (size_t k = 0; k < change.size(); ++k) change[k] += c * rows[k];
    rows += change.size();
  }
}

// |w + scale * change|^2, in eight sums so that the compiler can use vectors.
double SquaredNorm(const std::vector<float>& w, const std::vector<float>& change, double scale) {
  std::array<double, 8> sums{};
  const size_t whole = w.size() / sums.size() * sums.size();
  for (size_t k = 0; k < whole; k += sums.size()) {
    for (size_t i = 0; i < sums.size(); ++i) {
      const double value = w[k + i] + scale * change[k + i];
      sums[i] += value * value;
    }
  }
  double sum = 0;
  for (size_t k = whole; k < w.size(); ++k) {
    const double value = w[k] + scale * change[k];
    sum += value * value;
  }
  for (const double part : sums) sum += part;
  return sum;
}

}  // namespace

absl::StatusOr<std::vector<double>> RowNorms(ShowRows w, const HostMatrix& a, const HostMatrix& b,
                                             float scale) {
  const std::vector<float> a_rows = Floats(a);
  std::vector<float> row(a.cols), coefficients(b.cols), change(a.cols);
  std::vector<double> norms;
  RETURN_IF_ERROR(w([&](int first, const HostMatrix& block) {
    for (int n = 0; n < block.rows; ++n) {
      CopyRows(block, n, 1, row.data());
      CopyRows(b, first + n, 1, coefficients.data());
      Combine(coefficients, a_rows.data(), change);
      norms.push_back(std::sqrt(SquaredNorm(row, change, scale)));
    }
  }));
  return norms;
}

absl::StatusOr<std::vector<double>> ColumnNorms(ShowRows e, const HostMatrix& a, const HostMatrix& b,
                                                float scale) {
  const std::vector<float> a_by_token = Transposed(Floats(a), a.rows, a.cols);
  const std::vector<float> b_columns = Transposed(Floats(b), b.rows, b.cols);
  const size_t rank = static_cast<size_t>(a.rows);
  std::vector<float> row(b.rows), change(b.rows);
  std::vector<double> norms(b.rows);
  RETURN_IF_ERROR(e([&](int first, const HostMatrix& block) {
    for (int n = 0; n < block.rows; ++n) {
      CopyRows(block, n, 1, row.data());
      Combine({a_by_token.data() + static_cast<size_t>(first + n) * rank, rank}, b_columns.data(), change);
      for (int k = 0; k < block.cols; ++k) {
        const double value = row[k] + static_cast<double>(scale) * change[k];
        norms[k] += value * value;
      }
    }
  }));
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

}  // namespace hydrad
