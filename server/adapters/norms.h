// Norms of a base matrix with a low-rank change: what DoRA's magnitudes are divided by (Liu et al., arXiv
// 2402.09353, eq. 5).
#ifndef HYDRAD_SERVER_ADAPTERS_NORMS_H_
#define HYDRAD_SERVER_ADAPTERS_NORMS_H_

#include <vector>

#include "server/backend/tensor.h"

namespace hydrad {

// [out] the Euclidean norm of every row of W + scale * B A, with W [out, in], A [rank, in], B [out, rank].
// Squares are summed in double.
std::vector<double> RowNorms(const HostMatrix& w, const HostMatrix& a, const HostMatrix& b, float scale);

// [hidden] the Euclidean norm of every column of E + scale * (B A)^T, with an embedding matrix E [vocab,
// hidden], A [rank, vocab], B [hidden, rank]. Squares are summed in double.
std::vector<double> ColumnNorms(const HostMatrix& e, const HostMatrix& a, const HostMatrix& b, float scale);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_NORMS_H_
