#include "server/adapters/formats/read_adapter.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "server/adapters/formats/adapter_config.h"
#include "server/adapters/formats/adapter_directory.h"
#include "server/adapters/formats/dora.h"
#include "server/adapters/formats/hydralora.h"
#include "server/adapters/formats/moa.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/adapters/formats/own_rows.h"
#include "server/adapters/formats/peft_lora.h"
#include "server/adapters/formats/read_moa.h"
#include "server/adapters/formats/target_check.h"
#include "server/base/invalid_argument.h"
#include "server/base/sha256.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/model/safetensors.h"

namespace hydrad {
namespace {

// Text from a stranger's file as it may stand in a log or an answer: one printable line of bounded length.
std::string Printable(std::string_view text) {
  constexpr size_t kMax = 600;
  std::string line;
  for (const unsigned char c : text.substr(0, kMax)) {
    line += c >= 0x20 && c < 0x7f ? std::string(1, static_cast<char>(c)) : fmt::format("\\x{:02x}", c);
  }
  return text.size() > kMax ? line + "..." : line;
}

// What an adapter is checked against, and how strictly.
struct Base {
  const AdapterShape& shape;
  const BaseWeights* weights;  // or null
  bool lenient;
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
  module.parts.erase(kVeloraPart);
  if (module.parts.empty() && bias.empty()) return std::nullopt;
  const TokenRows& own = OwnRowsOf(read, module.projection);
  if (!own.tokens.empty() || own.vocab > 0) {
    return InvalidArgument("tensor '{}': a LoRA of what has trained or added tokens is not supported",
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

absl::StatusOr<AdapterWeights> ReadModules(const AdapterConfig& config, const Safetensors& all,
                                           const Base& base, TensorStorage& storage,
                                           std::vector<std::string>* warnings) {
  const Leniency leniency{base.lenient, warnings};
  const Safetensors file = WithoutOtherModules(all, base.shape, leniency);
  ASSIGN_OR_RETURN(std::vector<ModuleTensors> modules, SortByModule(file, base.shape));
  // An error in a tensor says more than that the tensor is there.
  const absl::Status whole = CheckTargets(config, base.shape, "", leniency, modules);
  if (base.lenient) RETURN_IF_ERROR(whole);
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
  RETURN_IF_ERROR(whole);
  return read;
}

absl::StatusOr<AdapterContents> ReadTensors(DiskDirectory& directory, const AdapterConfig& config,
                                            const Base& base, uint64_t max_bytes, Sha256& digest) {
  auto storage = std::make_shared<TensorStorage>();
  ASSIGN_OR_RETURN(Safetensors file, ReadTensorFile(directory, max_bytes, digest, *storage));
  if (config.names != TensorNames::kPeft) {
    ASSIGN_OR_RETURN(file, InHydraNames(config.names, file));
  }
  AdapterContents contents;
  auto weights = ReadModules(config, file, base, *storage, &contents.warnings);
  if (!weights.ok()) {
    return absl::Status(weights.status().code(),
                        InFileNames(config.names, std::string(weights.status().message())));
  }
  contents.weights = *std::move(weights);
  contents.host_bytes = storage->bytes() + VectorBytes(contents.weights);
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
    const WantedOfMoa all{.lenient = base.lenient};
    contents = ReadMoa(disk, path, **directory, *config, base.shape, max_file_bytes, all, digest);
    if (!contents.ok()) return contents.status();
  } else {
    contents = ReadTensors(**directory, *config, base, max_file_bytes, digest);
    if (!contents.ok()) return Annotate(Explain(contents.status(), **directory), path + "/" + kTensorFile);
  }
  contents->digest = "sha256:" + Hex(digest.Finish());
  contents->base_model = Printable(config->base_model);
  for (std::string& warning : contents->warnings) warning = Printable(warning);
  Describe(*config, &*contents);
  return contents;
}

absl::StatusOr<AdapterContents> ReadWanted(Disk& disk, const std::string& path, const WantedOfMoa& part,
                                           const AdapterShape& shape, uint64_t max_file_bytes) {
  ASSIGN_OR_RETURN(const auto directory, disk.OpenDirectory(path));
  Sha256 unused;
  const auto config = ReadConfig(*directory, unused);
  if (!config.ok()) return Annotate(Explain(config.status(), *directory), path + "/" + kConfigFile);
  if (!config->moa) return FailedPrecondition("{}/{}: is no MoA any more", path, kConfigFile);
  return ReadMoa(disk, path, *directory, *config, shape, max_file_bytes, part, unused);
}

// Runs a reading function. Its error comes back in printable text, and a lack of memory as an error.
template <class F>
absl::StatusOr<AdapterContents> Guarded(const std::string& path, const F& read) {
  try {
    absl::StatusOr<AdapterContents> result = read();
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
                                            uint64_t max_file_bytes, const BaseWeights* base, bool lenient) {
  return Guarded(path, [&] { return Read(disk, path, {shape, base, lenient}, max_file_bytes); });
}

absl::StatusOr<AdapterContents> ReadMoaComponent(Disk& disk, const std::string& path,
                                                 ComponentInfo::Kind kind, const std::string& expert,
                                                 const AdapterShape& shape, uint64_t max_file_bytes,
                                                 bool lenient) {
  return Guarded(path, [&] {
    return ReadWanted(disk, path, {kind, expert, lenient}, shape, max_file_bytes);
  });
}

uint64_t VectorBytes(const AdapterWeights& weights) {
  uint64_t bytes = (weights.embedding.tokens.size() + weights.head.tokens.size()) * sizeof(int32_t);
  for (const ProjectionWeights& p : weights.projections) {
    bytes += (p.out_scale.size() + p.out_bias.size() + p.router_bias.size()) * sizeof(float);
  }
  return bytes;
}

}  // namespace hydrad
