// Parts of a safetensors file on disk, where reading all of it would be too much.
#ifndef HYDRAD_SERVER_ADAPTERS_TENSOR_FILE_H_
#define HYDRAD_SERVER_ADAPTERS_TENSOR_FILE_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "server/adapters/disk.h"
#include "server/base/status.h"
#include "server/model/safetensors.h"

namespace hydrad {

// Every tensor that `file` speaks of, its values not read: their `data` says where they belong in `bytes`,
// which is as large as the file and of which only what is written to takes memory. INVALID_ARGUMENT as
// Safetensors::ParseBytes and for more than `max_size` bytes; INTERNAL when the disk fails. Throws
// std::bad_alloc.
absl::StatusOr<Safetensors> ReadTensorHeader(DiskFile& file, uint64_t max_size, Bytes* bytes);

// Likewise, with the values of the tensors whose names `wanted` is true of, and no others.
absl::StatusOr<Safetensors> ReadTensors(DiskFile& file, uint64_t max_size,
                                        const std::function<bool(std::string_view)>& wanted, Bytes* bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_TENSOR_FILE_H_
