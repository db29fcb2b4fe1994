#include "server/adapters/read_adapter.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "server/adapters/adapter_config.h"
#include "server/adapters/dora.h"
#include "server/adapters/hydralora.h"
#include "server/adapters/moa.h"
#include "server/adapters/module_tensors.h"
#include "server/adapters/own_rows.h"
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

// What an adapter is checked against.
struct Base {
  const AdapterShape& shape;
  const BaseWeights* weights;  // or null
};

// A change of rank 0.
ProjectionWeights BiasAlone(const ModuleTensors& module) {
  ProjectionWeights weights;
  weights.layer = module.layer;
  weights.projection = module.projection;
  weights.a = {HostMatrix{nullptr, DType::kF32, 0, module.in}};
  weights.b = {HostMatrix{nullptr, DType::kF32, module.out, 0}};
  weights.scale = {1};
  return weights;
}

// The rows of a module's matrix that the adapter has of its own; none of a layer's.
const TokenRows& OwnRowsOf(const AdapterWeights& read, Projection projection) {
  static const TokenRows none;
  if (projection == Projection::kEmbedding) return read.embedding;
  return projection == Projection::kHead ? read.head : none;
}

// A module's change: what its family's factors say, then what may stand beside those of any family. Empty if
// nothing is left of the module.
absl::StatusOr<std::optional<ProjectionWeights>> ReadModule(const AdapterConfig& config, const Base& base,
                                                            const AdapterWeights& read, ModuleTensors& module,
                                                            TensorStorage& storage) {
  ASSIGN_OR_RETURN(const std::vector<float> bias, TakeOwnBias(base.weights, module));
  ASSIGN_OR_RETURN(const std::vector<float> magnitudes, TakeMagnitudes(config.dora, module));
  if (module.parts.empty() && bias.empty()) return std::nullopt;
  const TokenRows& own = OwnRowsOf(read, module.projection);
  if (!own.tokens.empty()) {
    return InvalidArgument("tensor '{}': a LoRA of what has trained tokens is not supported",
                           module.parts.begin()->second.name);
  }
  ProjectionWeights weights = BiasAlone(module);
  if (!module.parts.empty()) {
    const auto reader = config.heads > 0 ? ReadHydraLora : ReadPeftLora;
    ASSIGN_OR_RETURN(weights, reader(config, module, storage));
  }
  if (!magnitudes.empty()) {
    RETURN_IF_ERROR(ApplyMagnitudes(magnitudes, module, own.rows, base.weights, &weights));
  }
  weights.out_bias.resize(std::max(weights.out_bias.size(), bias.size()));
  for (size_t i = 0; i < bias.size(); ++i) weights.out_bias[i] += bias[i];
  return weights;
}

// PEFT applies what an aLoRA has beside its LoRA to every token, where a run of it here begins at the
// invocation.
absl::Status CheckInvocation(const AdapterConfig& config, const AdapterShape& shape,
                             const AdapterWeights& read, std::span<const ModuleTensors> modules) {
  if (config.tokens.invocation.empty()) return absl::OkStatus();
  for (const int32_t token : config.tokens.invocation) {
    if (token < shape.vocab) continue;
    return InvalidArgument("token {} of alora_invocation_tokens is outside of the {} tokens", token,
                           shape.vocab);
  }
  const bool bias = std::ranges::any_of(modules, [](const auto& m) { return m.parts.contains(kBiasPart); });
  const bool lora = std::ranges::any_of(
      modules, [](const auto& m) { return m.projection == Projection::kEmbedding && !m.parts.empty(); });
  if (!bias && !lora && read.embedding.rows.data == nullptr && read.head.rows.data == nullptr) {
    return absl::OkStatus();
  }
  return InvalidArgument("an aLoRA with trained biases, embeddings or matrices of its own is not supported");
}

absl::StatusOr<AdapterWeights> ReadModules(const AdapterConfig& config, const Safetensors& file,
                                           const Base& base, TensorStorage& storage) {
  ASSIGN_OR_RETURN(std::vector<ModuleTensors> modules, SortByModule(file, base.shape));
  AdapterWeights read;
  ASSIGN_OR_RETURN(OwnRows own, TakeOwnRows(config.tokens, base.shape, base.weights, modules, storage));
  read.embedding = std::move(own.embedding);
  read.head = std::move(own.head);
  RETURN_IF_ERROR(CheckInvocation(config, base.shape, read, modules));
  for (ModuleTensors& module : modules) {
    ASSIGN_OR_RETURN(std::optional<ProjectionWeights> weights,
                     ReadModule(config, base, read, module, storage));
    if (weights) read.projections.push_back(*std::move(weights));
  }
  return read;
}

// The tensors' file, in `storage`.
absl::StatusOr<Safetensors> ReadTensorFile(DiskDirectory& directory, uint64_t max_bytes, Sha256& digest,
                                           TensorStorage& storage) {
  ASSIGN_OR_RETURN(storage.file, ReadFile(directory, kTensorFile, max_bytes, digest));
  return Safetensors::ParseBytes(storage.file.span(), Safetensors::kMaxAdapterHeader);
}

absl::StatusOr<AdapterContents> ReadTensors(DiskDirectory& directory, const AdapterConfig& config,
                                            const Base& base, uint64_t max_bytes, Sha256& digest) {
  auto storage = std::make_shared<TensorStorage>();
  ASSIGN_OR_RETURN(Safetensors file, ReadTensorFile(directory, max_bytes, digest, *storage));
  if (config.names != TensorNames::kPeft) {
    ASSIGN_OR_RETURN(file, InHydraNames(config.names, file));
  }
  auto weights = ReadModules(config, file, base, *storage);
  if (!weights.ok()) {
    return absl::Status(weights.status().code(),
                        InFileNames(config.names, std::string(weights.status().message())));
  }
  AdapterContents contents;
  contents.weights = *std::move(weights);
  contents.host_bytes = storage->bytes();
  contents.weights.storage = std::move(storage);
  contents.invocation = config.tokens.invocation;
  return contents;
}

// Fills in what all weights of `contents` say together.
void Describe(const AdapterConfig& config, AdapterContents* contents) {
  std::array<bool, kProjections> adapted = {};
  const auto add = [&](const AdapterWeights& weights) {
    for (const ProjectionWeights& p : weights.projections) {
      adapted[static_cast<int>(p.projection)] = true;
      contents->max_rank = std::max(contents->max_rank, p.a.front().rows);
      contents->experts = std::max(contents->experts, static_cast<int>(p.b.size()));
      if (p.gate.rule != GateRule::kNone) contents->family = p.a.size() == 1 ? "hydralora" : "loramoe";
    }
  };
  contents->family = contents->experts_by_name.empty() ? "lora" : "moa";
  contents->experts = std::max(1, static_cast<int>(contents->experts_by_name.size()));
  contents->traits = TraitsOf(contents->weights);
  add(contents->weights);
  for (const ExpertWeights& expert : contents->experts_by_name) add(expert.weights);
  contents->traits.linear &= contents->invocation.empty();  // a sum counts in all positions
  adapted[static_cast<int>(Projection::kEmbedding)] |= contents->weights.embedding.rows.data != nullptr;
  adapted[static_cast<int>(Projection::kHead)] |= contents->weights.head.rows.data != nullptr;
  for (int i = 0; i < kProjections; ++i) {
    if (adapted[i]) contents->targets.push_back(kProjectionNames[i]);
  }
  if (config.family != nullptr) contents->family = config.family;
}

// One expert or another per layer cannot be at the ends of the network, nor begin in the middle of a prompt.
absl::Status CheckExpertModules(std::span<const ModuleTensors> modules, const TokenFields& tokens) {
  if (!tokens.invocation.empty()) return InvalidArgument("an expert of an MoA cannot be an aLoRA");
  for (const ModuleTensors& module : modules) {
    if (module.projection < Projection::kEmbedding) continue;
    return InvalidArgument("tensor '{}': an expert of an MoA changes the projections of the layers alone",
                           module.parts.begin()->second.name);
  }
  return absl::OkStatus();
}

// What an expert holds beside its storage.
uint64_t RouterBytes(const ExpertWeights& expert) {
  return (expert.router.size() + expert.router_bias.size()) * sizeof(float);
}

// The bundle's tensors: experts without a path, and the routers.
absl::StatusOr<std::vector<ExpertWeights>> ReadBundle(DiskDirectory& directory, const MoaConfig& config,
                                                      const AdapterShape& shape, uint64_t max_bytes,
                                                      Sha256& digest, uint64_t& host_bytes) {
  auto storage = std::make_shared<TensorStorage>();
  ASSIGN_OR_RETURN(const Safetensors file, ReadTensorFile(directory, max_bytes, digest, *storage));
  ASSIGN_OR_RETURN(const std::vector<ModuleTensors> modules, SortByModule(file, shape, IsRouterTensor));
  RETURN_IF_ERROR(CheckExpertModules(modules, {}));
  ASSIGN_OR_RETURN(std::vector<ExpertWeights> experts, ReadMoaBundle(config, modules, *storage));
  RETURN_IF_ERROR(ReadRouters(file, shape, *storage, experts));
  const bool routed = !experts.front().router.empty();
  if (routed && experts.front().router_bias.empty() == config.router_bias) {
    return InvalidArgument("moa_router: {} biases, but the config's router has bias {}",
                           config.router_bias ? "has no" : "has", config.router_bias);
  }
  for (ExpertWeights& expert : experts) {
    expert.weights.storage = storage;
    host_bytes += RouterBytes(expert);
  }
  host_bytes += storage->bytes();
  return experts;
}

// A directory with a plain LoRA and perhaps a row of the routers.
absl::StatusOr<ExpertWeights> ReadExpertFiles(DiskDirectory& directory, const std::string& path,
                                              const AdapterShape& shape, uint64_t max_bytes, Sha256& digest,
                                              uint64_t& host_bytes) {
  const auto config = ReadConfig(directory, digest);
  if (!config.ok()) return Annotate(Explain(config.status(), directory), path + "/" + kConfigFile);
  if (config->moa || config->heads > 0)
    return InvalidArgument("{}/{}: an expert of an MoA must be a plain LoRA", path, kConfigFile);
  const auto read = [&]() -> absl::StatusOr<ExpertWeights> {
    auto storage = std::make_shared<TensorStorage>();
    ExpertWeights expert;
    ASSIGN_OR_RETURN(const Safetensors file, ReadTensorFile(directory, max_bytes, digest, *storage));
    ASSIGN_OR_RETURN(const std::vector<ModuleTensors> modules, SortByModule(file, shape, IsRouterTensor));
    if (modules.empty()) return InvalidArgument("holds no lora tensors");
    RETURN_IF_ERROR(CheckExpertModules(modules, config->tokens));
    for (const ModuleTensors& module : modules) {
      ASSIGN_OR_RETURN(ProjectionWeights weights, ReadPeftLora(*config, module, *storage));
      expert.weights.projections.push_back(std::move(weights));
    }
    RETURN_IF_ERROR(ReadRouters(file, shape, *storage, {&expert, 1}));
    host_bytes += storage->bytes() + RouterBytes(expert);
    expert.weights.storage = std::move(storage);
    return expert;
  };
  auto expert = read();
  if (!expert.ok()) return Annotate(Explain(expert.status(), directory), path + "/" + kTensorFile);
  return expert;
}

// An expert's directory beneath the adapter's own, or else beneath the root, and its path from there.
absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenExpert(Disk& disk, const std::string& adapter,
                                                          std::string* path) {
  auto own = disk.OpenDirectory(adapter + "/" + *path);
  if (own.ok()) {
    *path = adapter + "/" + *path;
    return own;
  }
  if (!absl::IsNotFound(own.status())) return Annotate(own.status(), adapter + "/" + *path);
  auto shared = disk.OpenDirectory(*path);
  if (!shared.ok()) return Annotate(shared.status(), *path);
  return shared;
}

absl::StatusOr<AdapterContents> ReadMoa(Disk& disk, const std::string& path, DiskDirectory& directory,
                                        const MoaConfig& config, const AdapterShape& shape,
                                        uint64_t max_bytes, Sha256& digest) {
  AdapterContents contents;
  contents.pool = config.pool;
  contents.decision = config.decision;
  auto bundle = ReadBundle(directory, config, shape, max_bytes, digest, contents.host_bytes);
  const bool all_apart =
      std::ranges::none_of(config.experts, [](const MoaConfig::Expert& e) { return e.path.empty(); });
  if (bundle.ok()) {
    contents.experts_by_name = *std::move(bundle);
  } else if (absl::IsNotFound(bundle.status()) && all_apart) {
    contents.experts_by_name.resize(config.experts.size());
  } else {
    return Annotate(Explain(bundle.status(), directory), path + "/" + kTensorFile);
  }
  bool routed = false;
  for (size_t e = 0; e < config.experts.size(); ++e) {
    ExpertWeights& expert = contents.experts_by_name[e];
    expert.name = config.experts[e].name;
    if (std::string at = config.experts[e].path; !at.empty()) {
      ASSIGN_OR_RETURN(const auto opened, OpenExpert(disk, path, &at));
      ASSIGN_OR_RETURN(ExpertWeights read,
                       ReadExpertFiles(*opened, at, shape, max_bytes, digest, contents.host_bytes));
      expert.weights = std::move(read.weights);
      if (!read.router.empty()) {
        expert.router = std::move(read.router);
        expert.router_bias = std::move(read.router_bias);
      }
    }
    routed |= !expert.router.empty();
  }
  if (!routed && config.decision != Decision::kLabel) {
    return InvalidArgument("{}: there are no routers (moa_router), so the decision must be 'label'", path);
  }
  return contents;
}

absl::StatusOr<AdapterContents> Read(Disk& disk, const std::string& path, const Base& base,
                                     uint64_t max_file_bytes) {
  RETURN_IF_ERROR(CheckPath(path));
  auto directory = disk.OpenDirectory(path);
  if (!directory.ok()) return Annotate(directory.status(), path);
  Sha256 digest;
  const auto config = ReadConfig(**directory, digest);
  if (!config.ok()) return Annotate(Explain(config.status(), **directory), path + "/" + kConfigFile);
  absl::StatusOr<AdapterContents> contents;
  if (config->moa) {
    contents = ReadMoa(disk, path, **directory, *config->moa, base.shape, max_file_bytes, digest);
    if (!contents.ok()) return contents.status();
  } else {
    contents = ReadTensors(**directory, *config, base, max_file_bytes, digest);
    if (!contents.ok()) return Annotate(Explain(contents.status(), **directory), path + "/" + kTensorFile);
  }
  contents->digest = "sha256:" + Hex(digest.Finish());
  Describe(*config, &*contents);
  return contents;
}

absl::StatusOr<ExpertContents> ReadOneExpert(Disk& disk, const std::string& path, const AdapterShape& shape,
                                             uint64_t max_file_bytes) {
  RETURN_IF_ERROR(CheckPath(path));
  auto directory = disk.OpenDirectory(path);
  if (!directory.ok()) return Annotate(directory.status(), path);
  Sha256 digest;
  ExpertContents contents;
  uint64_t host_bytes = 0;
  ASSIGN_OR_RETURN(contents.expert,
                   ReadExpertFiles(**directory, path, shape, max_file_bytes, digest, host_bytes));
  contents.digest = "sha256:" + Hex(digest.Finish());
  for (const ProjectionWeights& p : contents.expert.weights.projections)
    contents.max_rank = std::max(contents.max_rank, p.a.front().rows);
  return contents;
}

// What a reading function answers, its error in printable text, and memory that is lacking as an error.
template <class T, class F>
absl::StatusOr<T> Guarded(const std::string& path, const F& read) {
  try {
    absl::StatusOr<T> result = read();
    if (!result.ok()) {
      return absl::Status(result.status().code(), Printable(std::string(result.status().message())));
    }
    return result;
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("{}: no memory to read it", Printable(path));
  }
}

}  // namespace

absl::StatusOr<AdapterContents> ReadAdapter(Disk& disk, const std::string& path, const AdapterShape& shape,
                                            uint64_t max_file_bytes, const BaseWeights* base) {
  return Guarded<AdapterContents>(path, [&] { return Read(disk, path, {shape, base}, max_file_bytes); });
}

absl::StatusOr<ExpertContents> ReadExpert(Disk& disk, const std::string& path, const AdapterShape& shape,
                                          uint64_t max_file_bytes) {
  return Guarded<ExpertContents>(path, [&] { return ReadOneExpert(disk, path, shape, max_file_bytes); });
}

}  // namespace hydrad
