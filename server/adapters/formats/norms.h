// Norms of a base matrix with a low-rank change: what DoRA's magnitudes are divided by (Liu et al., arXiv
// 2402.09353, eq. 5).
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_NORMS_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_NORMS_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <vector>

#include "server/backend/tensor.h"

namespace hydrad {

// A matrix, shown a block of rows after the other: each with the number of its first row. Answers OK when it
// has shown all of them.
using ShowRows = absl::FunctionRef<absl::Status(absl::FunctionRef<void(int first, const HostMatrix& block)>)>;

// [out] the Euclidean norm of every row of W + scale * B A, with W [out, in], A [rank, in], B [out, rank].
// Squares are summed in double. Errors are those of `w`.
absl::StatusOr<std::vector<double>> RowNorms(ShowRows w, const HostMatrix& a, const HostMatrix& b,
                                             float scale);

// [hidden] the Euclidean norm of every column of E + scale * (B A)^T, with an embedding matrix E [vocab,
// hidden], A [rank, vocab], B [hidden, rank]. Squares are summed in double.
absl::StatusOr<std::vector<double>> ColumnNorms(ShowRows e, const HostMatrix& a, const HostMatrix& b,
                                                float scale);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_NORMS_H_
