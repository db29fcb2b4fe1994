// Reads the files of an MoA: its bundle, and its experts' own directories.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_READ_MOA_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_READ_MOA_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/disk.h"
#include "server/adapters/formats/read_adapter.h"
#include "server/adapters/info.h"            // ComponentInfo
#include "server/backend/adapter_weights.h"  // AdapterShape
#include "server/base/sha256.h"

namespace hydrad {

// The part of an MoA that is wanted: all of it, or one component, for which no more is read than it takes.
struct WantedOfMoa {
  ComponentInfo::Kind kind = ComponentInfo::Kind::kWhole;
  std::string expert{};  // of kExpert
  bool lenient = false;  // see ReadAdapter
};

// `directory` is that of `path`, whose config, of an MoA, has been read. Fills in the experts (of a part:
// names, and what was asked for), how they are picked, and the host bytes; adds what it reads whole to
// `digest`. Every expert has memory of its own. Errors as ReadAdapter's. Throws std::bad_alloc.
absl::StatusOr<AdapterContents> ReadMoa(Disk& disk, const std::string& path, DiskDirectory& directory,
                                        const AdapterConfig& config, const AdapterShape& shape,
                                        uint64_t max_bytes, const WantedOfMoa& part, Sha256& digest);

// Opens the directory of an expert that has one: beneath the adapter's own, or else beneath the root. `*path`
// becomes the path from the root.
absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenExpert(Disk& disk, const std::string& adapter,
                                                          std::string* path);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_READ_MOA_H_
