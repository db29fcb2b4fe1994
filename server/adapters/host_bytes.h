// How much host memory reading an adapter takes, before it is read.
#ifndef HYDRAD_SERVER_ADAPTERS_HOST_BYTES_H_
#define HYDRAD_SERVER_ADAPTERS_HOST_BYTES_H_

#include <cstdint>
#include <string>

#include "server/adapters/disk.h"
#include "server/base/status.h"

namespace hydrad {

// At least what ReadAdapter holds of the directory `path`: the tensors' file and, where its header speaks of
// F16, which becomes F32, twice that more. 0 where ReadAdapter will say what is wrong: nothing is held then.
// INTERNAL when the disk fails.
absl::StatusOr<uint64_t> HostBytesToRead(Disk& disk, const std::string& path, uint64_t max_file_bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_HOST_BYTES_H_
