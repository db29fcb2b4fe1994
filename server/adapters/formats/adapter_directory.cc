#include "server/adapters/formats/adapter_directory.h"

#include <array>
#include <memory>
#include <utility>

#include "server/adapters/formats/tensor_file.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kPickle[] = "pickle files are never opened; convert to safetensors";
constexpr char kShards[] = "merge the shards that this index names into one adapter_model.safetensors";
constexpr char kMlx[] =
    "it is of MLX (mlx-lm), whose tensors are transposed and have other names; convert to PEFT's format";

// A thing that stands in a directory that somebody takes for an adapter, and what to say of it.
constexpr std::array<std::pair<const char*, const char*>, 15> kLookalikes = {{
    {"xlora_config.json", "X-LoRA adapters are not supported"},
    {"moe_args.pth", "MLLM-HydraLoRA adapters are not supported"},
    {"adapter_model.bin", kPickle},
    {"adapter_model.pth", kPickle},
    {"adapter_model.pt", kPickle},
    {"pytorch_model.bin", kPickle},
    {"pytorch_lora_weights.bin", kPickle},
    {"adapter_model.safetensors.index.json", kShards},
    {"adapter_model.bin.index.json", kPickle},
    {"adapters.safetensors", kMlx},
    {"adapters.npz", kMlx},
    {"pytorch_lora_weights.safetensors", "LoRAs of diffusers are not supported"},
    {"adapter_model.gguf", "GGUF adapters are not supported; convert to safetensors"},
    {"model.safetensors.index.json", "this is the directory of a whole model"},
    {"model.safetensors", "that is a whole model's, or Trainer's: save the adapter with save_pretrained"},
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
    if (directory.Has(name)) return InvalidArgument("no such file, but {} is there: {}", name, text);
  }
  return status;
}

}  // namespace hydrad
