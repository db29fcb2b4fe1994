// Tells how much host memory reading an adapter takes, before it is read.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_HOST_BYTES_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_HOST_BYTES_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "server/adapters/formats/disk.h"

namespace hydrad {

// At least the bytes that ReadAdapter has of the directory `path` at any moment: the tensors' files, and
// beside them what is widened (F16), worked out (vectors) or taken apart (the bundle of an MoA). 0 where
// ReadAdapter will say what is wrong, and will have nothing. INTERNAL when the disk fails.
absl::StatusOr<uint64_t> HostBytesToRead(Disk& disk, const std::string& path, uint64_t max_file_bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_HOST_BYTES_H_
