#include "server/adapters/formats/read_moa.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "server/adapters/formats/adapter_directory.h"
#include "server/adapters/formats/moa.h"
#include "server/adapters/formats/module_tensors.h"
#include "server/adapters/formats/peft_lora.h"
#include "server/adapters/formats/target_check.h"
#include "server/adapters/formats/tensor_file.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using Kind = ComponentInfo::Kind;

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

// Everything that reading an MoA needs to know, and what has come of it so far.
class MoaReader {
 public:
  MoaReader(Disk& disk, const std::string& path, const AdapterConfig& config, const AdapterShape& shape,
            uint64_t max_bytes, const WantedOfMoa& part, Sha256& digest)
      : disk_(disk),
        path_(path),
        whole_config_(config),
        config_(*config.moa),
        shape_(shape),
        max_bytes_(max_bytes),
        part_(part),
        digest_(digest) {
    contents_.pool = config_.pool;
    contents_.decision = config_.decision;
    contents_.experts_by_name.resize(config_.experts.size());
    contents_.expert_host_bytes.resize(config_.experts.size());
    for (size_t e = 0; e < config_.experts.size(); ++e) Expert(e).name = config_.experts[e].name;
  }

  absl::StatusOr<AdapterContents> Read(DiskDirectory& directory) {
    const absl::Status bundle = ReadBundle(directory);
    const bool needed = std::ranges::any_of(config_.experts, [](const auto& e) { return e.path.empty(); });
    if (!bundle.ok() && (needed || !absl::IsNotFound(bundle))) {
      return Annotate(Explain(bundle, directory), path_ + "/" + kTensorFile);
    }
    for (size_t e = 0; e < config_.experts.size(); ++e) {
      if (!config_.experts[e].path.empty()) RETURN_IF_ERROR(ReadApart(e));
    }
    RETURN_IF_ERROR(Finish());
    return std::move(contents_);
  }

 private:
  ExpertWeights& Expert(size_t e) { return contents_.experts_by_name[e]; }
  Leniency leniency() { return {part_.lenient, &contents_.warnings}; }
  bool Wants(size_t e) const {
    return part_.kind == Kind::kWhole || (part_.kind == Kind::kExpert && part_.expert == Expert(e).name);
  }
  const ExpertWeights& Expert(size_t e) const { return contents_.experts_by_name[e]; }

  // All of a file, or the tensors of the part.
  absl::StatusOr<Safetensors> ReadFile(DiskDirectory& directory, const MoaConfig::Expert* expert,
                                       TensorStorage& storage) {
    if (part_.kind == Kind::kWhole) return ReadTensorFile(directory, max_bytes_, digest_, storage);
    ASSIGN_OR_RETURN(const auto file, directory.OpenFile(kTensorFile));
    const auto wanted = [expert](std::string_view name) {
      return expert != nullptr ? IsTensorOf(*expert, name) : IsRouterTensor(name);
    };
    return ReadTensors(*file, max_bytes_, wanted, &storage.file);
  }

  // The bundle's tensors: experts without a path, and the routers.
  absl::Status ReadBundle(DiskDirectory& directory) {
    const MoaConfig::Expert* one = nullptr;
    if (part_.kind == Kind::kExpert) {
      const auto found = std::ranges::find(config_.experts, part_.expert, &MoaConfig::Expert::name);
      if (found == config_.experts.end()) {
        return FailedPrecondition("expert '{}': is not there any more", part_.expert);
      }
      if (!found->path.empty()) return absl::OkStatus();
      one = &*found;
    }
    TensorStorage bundle;  // goes when it has been taken apart
    ASSIGN_OR_RETURN(const Safetensors all, ReadFile(directory, one, bundle));
    if (part_.kind == Kind::kRouters) return ReadRouters(all, shape_, bundle, contents_.experts_by_name);
    const Safetensors file = WithoutOtherModules(all, shape_, leniency());
    ASSIGN_OR_RETURN(std::vector<ModuleTensors> modules, SortByModule(file, shape_, IsRouterTensor));
    RETURN_IF_ERROR(CheckExpertModules(modules, {}));
    RETURN_IF_ERROR(CheckMoaParts(config_, modules));
    for (size_t e = 0; e < config_.experts.size(); ++e) {
      if (!config_.experts[e].path.empty() || !Wants(e)) continue;
      RETURN_IF_ERROR(CheckTargets(whole_config_, shape_, Expert(e).name, leniency(), modules));
      auto storage = std::make_shared<TensorStorage>();
      ASSIGN_OR_RETURN(Expert(e), ReadMoaExpert(config_.experts[e], modules, *storage));
      contents_.expert_host_bytes[e] = storage->bytes();
      Expert(e).weights.storage = std::move(storage);
    }
    RETURN_IF_ERROR(ReadRouters(file, shape_, bundle, contents_.experts_by_name));
    return CheckBias();
  }

  absl::Status CheckBias() const {
    const ExpertWeights& first = contents_.experts_by_name.front();
    if (first.router.empty() || first.router_bias.empty() != config_.router_bias) return absl::OkStatus();
    return InvalidArgument("moa_router: {} biases, but the config's router has bias {}",
                           config_.router_bias ? "has no" : "has", config_.router_bias);
  }

  // An expert's own directory.
  absl::Status ReadApart(size_t e) {
    if (part_.kind == Kind::kExpert && !Wants(e)) return absl::OkStatus();
    std::string at = config_.experts[e].path;
    ASSIGN_OR_RETURN(const auto directory, OpenExpert(disk_, path_, &at));
    const auto config = ReadConfig(*directory, digest_);
    if (!config.ok()) return Annotate(Explain(config.status(), *directory), at + "/" + kConfigFile);
    if (config->moa || config->heads > 0)
      return InvalidArgument("{}/{}: an expert of an MoA must be a plain LoRA", at, kConfigFile);
    const absl::Status read =
        part_.kind == Kind::kRouters ? ReadRow(*directory, e) : ReadFactors(*directory, *config, e);
    return read.ok() ? read : Annotate(Explain(read, *directory), at + "/" + kTensorFile);
  }

  // A plain LoRA, and perhaps a row of the routers.
  absl::Status ReadFactors(DiskDirectory& directory, const AdapterConfig& config, size_t e) {
    auto storage = std::make_shared<TensorStorage>();
    ASSIGN_OR_RETURN(const Safetensors all, ReadTensorFile(directory, max_bytes_, digest_, *storage));
    const Safetensors file = WithoutOtherModules(all, shape_, leniency());
    ASSIGN_OR_RETURN(std::vector<ModuleTensors> modules, SortByModule(file, shape_, IsRouterTensor));
    if (modules.empty()) return InvalidArgument("holds no lora tensors");
    RETURN_IF_ERROR(CheckTargets(config, shape_, "", leniency(), modules));
    RETURN_IF_ERROR(CheckExpertModules(modules, config.tokens));
    for (ModuleTensors& module : modules) {
      module.parts.erase(kVeloraPart);
      ASSIGN_OR_RETURN(ProjectionWeights weights, ReadPeftLora(config, module, *storage));
      Expert(e).weights.projections.push_back(std::move(weights));
    }
    TensorStorage scratch;
    RETURN_IF_ERROR(ReadRouters(file, shape_, scratch, {&Expert(e), 1}));
    contents_.expert_host_bytes[e] = storage->bytes() + VectorBytes(Expert(e).weights);
    Expert(e).weights.storage = std::move(storage);
    return absl::OkStatus();
  }

  absl::Status ReadRow(DiskDirectory& directory, size_t e) {
    TensorStorage scratch;
    ASSIGN_OR_RETURN(const Safetensors file, ReadFile(directory, nullptr, scratch));
    return ReadRouters(file, shape_, scratch, {&Expert(e), 1});
  }

  absl::Status Finish() {
    if (part_.kind == Kind::kExpert) return absl::OkStatus();
    bool routed = false;
    for (size_t e = 0; e < config_.experts.size(); ++e) {
      const ExpertWeights& expert = Expert(e);
      contents_.host_bytes += contents_.expert_host_bytes[e];
      contents_.host_bytes += (expert.router.size() + expert.router_bias.size()) * sizeof(float);
      routed |= !expert.router.empty();
    }
    if (routed || config_.decision == Decision::kLabel) return absl::OkStatus();
    return InvalidArgument("{}: there are no routers (moa_router), so the decision must be 'label'", path_);
  }

  Disk& disk_;
  const std::string& path_;
  const AdapterConfig& whole_config_;
  const MoaConfig& config_;
  const AdapterShape& shape_;
  const uint64_t max_bytes_;
  const WantedOfMoa& part_;
  Sha256& digest_;
  AdapterContents contents_;
};

}  // namespace

absl::StatusOr<AdapterContents> ReadMoa(Disk& disk, const std::string& path, DiskDirectory& directory,
                                        const AdapterConfig& config, const AdapterShape& shape,
                                        uint64_t max_bytes, const WantedOfMoa& part, Sha256& digest) {
  return MoaReader(disk, path, config, shape, max_bytes, part, digest).Read(directory);
}

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

}  // namespace hydrad
