// Rows of a host matrix in the element type of the kernels.
#ifndef HYDRAD_SERVER_BACKEND_HOST_ROWS_H_
#define HYDRAD_SERVER_BACKEND_HOST_ROWS_H_

#include "kernels/types.h"
#include "server/backend/tensor.h"

namespace hydrad {

// IEEE half precision, exactly.
float HalfToFloat(uint16_t half);

// out [rows, matrix.cols] = rows [row_begin, row_begin + rows) of `matrix`, which may be unaligned. What has
// no exact value in T becomes the nearest, ties to even.
template <class T>  // bf16 or float
void CopyRows(const HostMatrix& matrix, int row_begin, int rows, T* out);

// Whether the rows of `block` are those of `x` from `first` on, as floats. A NaN equals nothing.
bool SameRows(const HostMatrix& x, int first, const HostMatrix& block);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_HOST_ROWS_H_
