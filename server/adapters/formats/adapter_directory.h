// The two files that every adapter's directory has.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_DIRECTORY_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_DIRECTORY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/disk.h"
#include "server/adapters/formats/tensor_check.h"
#include "server/base/sha256.h"
#include "server/model/safetensors.h"

namespace hydrad {

inline constexpr uint64_t kMaxConfigBytes = 1u << 20;
inline constexpr char kConfigFile[] = "adapter_config.json";
inline constexpr char kTensorFile[] = "adapter_model.safetensors";

// Each is read whole and added to `digest`, the tensors once their header has been found to be sound; errors
// do not name the file. Throw std::bad_alloc.
absl::StatusOr<AdapterConfig> ReadConfig(DiskDirectory& directory, Sha256& digest);
absl::StatusOr<Safetensors> ReadTensorFile(DiskDirectory& directory, uint64_t max_bytes, Sha256& digest,
                                           TensorStorage& storage);

// NOT_FOUND says what is there instead, where that helps.
absl::Status Explain(const absl::Status& status, DiskDirectory& directory);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_DIRECTORY_H_
