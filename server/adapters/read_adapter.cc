#include "server/adapters/read_adapter.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <utility>

#include "server/adapters/adapter_config.h"
#include "server/adapters/hydralora.h"
#include "server/adapters/module_tensors.h"
#include "server/adapters/peft_lora.h"
#include "server/base/sha256.h"
#include "server/model/safetensors.h"

namespace hydrad {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kTensorFile[] = "adapter_model.safetensors";
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

// Text from a stranger's file as it may stand in a log or an answer: one printable line of bounded length.
std::string Printable(std::string_view text) {
  constexpr size_t kMax = 600;
  std::string line;
  for (const unsigned char c : text.substr(0, kMax)) {
    line += c >= 0x20 && c < 0x7f ? std::string(1, static_cast<char>(c)) : fmt::format("\\x{:02x}", c);
  }
  return text.size() > kMax ? line + "..." : line;
}

absl::StatusOr<Bytes> ReadFile(DiskDirectory& directory, const char* name, uint64_t max_bytes,
                               Sha256& digest) {
  auto file = directory.OpenFile(name);
  if (!file.ok()) return file.status();
  return ReadWhole(**file, max_bytes, digest);
}

// NOT_FOUND says what is there instead, where that helps.
absl::Status Explain(const absl::Status& status, DiskDirectory& directory) {
  if (!absl::IsNotFound(status)) return status;
  for (const auto& [name, text] : kLookalikes) {
    if (directory.Has(name)) return InvalidArgument("no such file: {}", text);
  }
  return status;
}

absl::StatusOr<AdapterConfig> ReadConfig(DiskDirectory& directory, Sha256& digest) {
  ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(directory, kConfigFile, kMaxConfigBytes, digest));
  return ParseAdapterConfig(bytes.text());
}

absl::StatusOr<AdapterWeights> ReadModules(const AdapterConfig& config, const Safetensors& file,
                                           const AdapterShape& shape, TensorStorage& storage) {
  ASSIGN_OR_RETURN(const std::vector<ModuleTensors> modules, SortByModule(file, shape));
  AdapterWeights all;
  for (const ModuleTensors& module : modules) {
    const auto read = config.heads > 0 ? ReadHydraLora : ReadPeftLora;
    ASSIGN_OR_RETURN(ProjectionWeights weights, read(config, module, storage));
    all.projections.push_back(std::move(weights));
  }
  return all;
}

absl::StatusOr<AdapterContents> ReadTensors(DiskDirectory& directory, const AdapterConfig& config,
                                            const AdapterShape& shape, uint64_t max_bytes, Sha256& digest) {
  auto storage = std::make_shared<TensorStorage>();
  ASSIGN_OR_RETURN(storage->file, ReadFile(directory, kTensorFile, max_bytes, digest));
  ASSIGN_OR_RETURN(Safetensors file,
                   Safetensors::ParseBytes(storage->file.span(), Safetensors::kMaxAdapterHeader));
  if (config.names != TensorNames::kPeft) {
    ASSIGN_OR_RETURN(file, InHydraNames(config.names, file));
  }
  auto weights = ReadModules(config, file, shape, *storage);
  if (!weights.ok()) {
    return absl::Status(weights.status().code(),
                        InFileNames(config.names, std::string(weights.status().message())));
  }
  AdapterContents contents;
  contents.weights = *std::move(weights);
  contents.weights.storage = std::move(storage);
  return contents;
}

void Describe(const AdapterConfig& config, AdapterContents* contents) {
  std::array<bool, kProjections> adapted = {};
  contents->family = "lora";
  contents->traits = TraitsOf(contents->weights);
  for (const ProjectionWeights& weights : contents->weights.projections) {
    adapted[static_cast<int>(weights.projection)] = true;
    contents->max_rank = std::max(contents->max_rank, weights.a.front().rows);
    contents->experts = std::max(contents->experts, static_cast<int>(weights.b.size()));
    if (weights.gate.rule != GateRule::kNone)
      contents->family = weights.a.size() == 1 ? "hydralora" : "loramoe";
  }
  for (int i = 0; i < kProjections; ++i) {
    if (adapted[i]) contents->targets.push_back(kProjectionNames[i]);
  }
  if (config.family != nullptr) contents->family = config.family;
}

absl::StatusOr<AdapterContents> Read(Disk& disk, const std::string& path, const AdapterShape& shape,
                                     uint64_t max_file_bytes) {
  RETURN_IF_ERROR(CheckPath(path));
  auto directory = disk.OpenDirectory(path);
  if (!directory.ok()) return Annotate(directory.status(), path);
  Sha256 digest;
  const auto config = ReadConfig(**directory, digest);
  if (!config.ok()) return Annotate(Explain(config.status(), **directory), path + "/" + kConfigFile);
  auto contents = ReadTensors(**directory, *config, shape, max_file_bytes, digest);
  if (!contents.ok()) return Annotate(Explain(contents.status(), **directory), path + "/" + kTensorFile);
  contents->digest = "sha256:" + Hex(digest.Finish());
  Describe(*config, &*contents);
  return contents;
}

}  // namespace

absl::StatusOr<AdapterContents> ReadAdapter(Disk& disk, const std::string& path, const AdapterShape& shape,
                                            uint64_t max_file_bytes) {
  try {
    auto contents = Read(disk, path, shape, max_file_bytes);
    if (!contents.ok()) {
      return absl::Status(contents.status().code(), Printable(std::string(contents.status().message())));
    }
    return contents;
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("{}: no memory to read it", Printable(path));
  }
}

}  // namespace hydrad
