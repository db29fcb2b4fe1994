// A small file of text beside an adapter's tensors.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TEXT_FILE_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TEXT_FILE_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "server/adapters/formats/disk.h"

namespace hydrad {

// The text of the file `name`, or nothing where it is not there. Errors are those of the disk and begin with
// the name; INVALID_ARGUMENT for a file of more than `max_bytes`.
absl::StatusOr<std::optional<std::string>> ReadTextIfThere(DiskDirectory& directory, const char* name,
                                                           uint64_t max_bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TEXT_FILE_H_
