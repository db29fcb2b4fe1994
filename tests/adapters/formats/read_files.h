// Reads adapters that are made up in memory, against TinyModel.
#ifndef HYDRAD_TESTS_ADAPTERS_FORMATS_READ_FILES_H_
#define HYDRAD_TESTS_ADAPTERS_FORMATS_READ_FILES_H_

#include <cstring>
#include <string>

#include "server/adapters/formats/read_adapter.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"

namespace hydrad {

inline absl::StatusOr<AdapterContents> Read(const AdapterFiles& files, bool lenient = false) {
  FakeDisk disk;
  disk.Put("a", files.Bytes());
  return ReadAdapter(disk, "a", TinyModel().adapter_shape(), 1 << 20, nullptr, lenient);
}

// The text of the error; "" where there is none.
inline std::string Error(const AdapterFiles& files) { return std::string(Read(files).status().message()); }

// Whether the matrix is the tensor, bit for bit.
inline bool Holds(const HostMatrix& matrix, const FakeTensor& tensor) {
  return matrix.rows == tensor.shape[0] && matrix.cols == tensor.shape[1] &&
         std::memcmp(matrix.data, tensor.bytes.data(), tensor.bytes.size()) == 0;
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_ADAPTERS_FORMATS_READ_FILES_H_
