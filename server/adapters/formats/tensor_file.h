// Reads some tensors of a safetensors file on disk, where reading all of it would be too much or too soon.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_FILE_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_FILE_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <string_view>

#include "server/adapters/formats/disk.h"
#include "server/model/safetensors.h"

namespace hydrad {

// Tells where the tensors of `file` are; nothing but the header is read. INVALID_ARGUMENT as
// Safetensors::ReadPlaces and for more than `max_size` bytes; INTERNAL when the disk fails. Throws
// std::bad_alloc.
absl::StatusOr<Safetensors::Places> ReadTensorPlaces(DiskFile& file, uint64_t max_size);

// The tensors whose names `wanted` is true of, and no others, in `bytes`. Errors likewise.
absl::StatusOr<Safetensors> ReadTensors(DiskFile& file, uint64_t max_size,
                                        const std::function<bool(std::string_view)>& wanted, Bytes* bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TENSOR_FILE_H_
