#include "server/adapters/adapter_directory.h"

#include <array>
#include <memory>
#include <utility>

#include "server/adapters/tensor_file.h"

namespace hydrad {
namespace {

// What stands in a directory that somebody takes for an adapter, and what to say of it.
constexpr std::array<std::pair<const char*, const char*>, 6> kLookalikes = {{
    {"xlora_config.json", "X-LoRA adapters are not supported"},
    {"moe_args.pth", "MLLM-HydraLoRA adapters are not supported"},
    {"adapter_model.bin",
     "adapter_model.bin is there, but pickle files are never opened; convert to safetensors"},
    {"adapter_model.pth",
     "adapter_model.pth is there, but pickle files are never opened; convert to safetensors"},
    {"adapter_model.pt",
     "adapter_model.pt is there, but pickle files are never opened; convert to safetensors"},
    {"pytorch_model.bin",
     "pytorch_model.bin is there, but pickle files are never opened; convert to safetensors"},
}};

}  // namespace

absl::StatusOr<AdapterConfig> ReadConfig(DiskDirectory& directory, Sha256& digest) {
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskFile> file, directory.OpenFile(kConfigFile));
  ASSIGN_OR_RETURN(const Bytes bytes, ReadWhole(*file, kMaxConfigBytes, digest));
  return ParseAdapterConfig(bytes.text());
}

absl::StatusOr<Safetensors> ReadTensorFile(DiskDirectory& directory, uint64_t max_bytes, Sha256& digest,
                                           TensorStorage& storage) {
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskFile> file, directory.OpenFile(kTensorFile));
  RETURN_IF_ERROR(ReadTensorPlaces(*file, max_bytes).status());  // before gigabytes are read for nothing
  ASSIGN_OR_RETURN(storage.file, ReadWhole(*file, max_bytes, digest));
  return Safetensors::ParseBytes(storage.file.span(), Safetensors::kMaxAdapterHeader);
}

absl::Status Explain(const absl::Status& status, DiskDirectory& directory) {
  if (!absl::IsNotFound(status)) return status;
  for (const auto& [name, text] : kLookalikes) {
    if (directory.Has(name)) return InvalidArgument("no such file: {}", text);
  }
  return status;
}

}  // namespace hydrad
