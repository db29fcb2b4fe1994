#include "server/adapters/formats/target_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr size_t kMostListed = 3;
constexpr char kEmbeddingPath[] = "model.embed_tokens", kHeadPath[] = "lm_head";

// Whether a part belongs to a LoRA, and to the expert if there is one.
bool IsLora(std::string_view part, const std::string& expert) {
  if (!expert.empty()) return part.ends_with("." + expert);
  return part.starts_with("lora_");
}

// Every module of the base that a LoRA can be of.
std::vector<std::string> ModulesOf(const AdapterShape& shape) {
  std::vector<std::string> paths = {kEmbeddingPath, kHeadPath};
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int i = 0; i < kLayerProjections; ++i) {
      const bool mlp = static_cast<Projection>(i) >= Projection::kGate;
      paths.push_back(
          fmt::format("model.layers.{}.{}.{}", layer, mlp ? "mlp" : "self_attn", kProjectionNames[i]));
    }
  }
  return paths;
}

// The first few of `names`, and how many more there are.
std::string Listed(const std::vector<std::string>& names) {
  const size_t listed = std::min(names.size(), kMostListed);
  std::string text = fmt::format("{}", fmt::join(names.begin(), names.begin() + listed, ", "));
  if (names.size() > listed) text += fmt::format(" and {} more", names.size() - listed);
  return text;
}

struct Difference {
  size_t named = 0;                         // modules that the config names
  std::vector<std::string> missing, extra;  // of them those without a LoRA; those with one beside them
};

// Whether `config` tells of a LoRA of the module.
absl::StatusOr<bool> IsNamed(const AdapterConfig& config, const AdapterShape& shape,
                             const std::string& path) {
  if (config.tokens.saves_head && path == kHeadPath) return false;
  if (config.tokens.saves_embedding && path == kEmbeddingPath) return false;
  ASSIGN_OR_RETURN(const bool named, config.targets.Has(path));
  if (named || !config.tokens.ties || !shape.tied) return named;
  // Both ends of a tied base have one then where either is named.
  if (path == kHeadPath) return config.targets.Has(kEmbeddingPath);
  return path == kEmbeddingPath ? config.targets.Has(kHeadPath) : false;
}

absl::StatusOr<Difference> Compare(const AdapterConfig& config, const AdapterShape& shape,
                                   const std::set<std::string_view>& present) {
  Difference difference;
  for (std::string& path : ModulesOf(shape)) {
    ASSIGN_OR_RETURN(const bool named, IsNamed(config, shape, path));
    difference.named += named;
    const bool there = present.contains(path);
    if (named != there) (named ? difference.missing : difference.extra).push_back(std::move(path));
  }
  return difference;
}

std::string InWords(const Difference& difference, const std::string& whose) {
  std::string text;
  if (!difference.missing.empty()) {
    text = fmt::format("{} of the {} modules that target_modules names have no tensors{}: {}",
                       difference.missing.size(), difference.named, whose, Listed(difference.missing));
  }
  if (!difference.extra.empty()) {
    text += fmt::format("{}{} modules have tensors{} that target_modules does not name: {}",
                        text.empty() ? "" : "; ", difference.extra.size(), whose, Listed(difference.extra));
  }
  return text;
}

void DropLora(const std::string& expert, const std::vector<std::string>& extra,
              std::vector<ModuleTensors>& modules) {
  for (ModuleTensors& module : modules) {
    if (std::ranges::find(extra, module.path) == extra.end()) continue;
    std::erase_if(module.parts, [&](const auto& part) { return IsLora(part.first, expert); });
  }
  std::erase_if(modules, [](const ModuleTensors& module) { return module.parts.empty(); });
}

}  // namespace

absl::Status CheckTargets(const AdapterConfig& config, const AdapterShape& shape, const std::string& expert,
                          Leniency leniency, std::vector<ModuleTensors>& modules) {
  if (!config.targets.told()) return absl::OkStatus();
  std::set<std::string_view> present;
  for (const ModuleTensors& module : modules) {
    const bool lora =
        std::ranges::any_of(module.parts, [&](const auto& part) { return IsLora(part.first, expert); });
    if (lora) present.insert(module.path);
  }
  auto difference = Compare(config, shape, present);
  if (!difference.ok()) return Annotate(difference.status(), "field 'target_modules' of adapter_config.json");
  if (difference->missing.empty() && difference->extra.empty()) return absl::OkStatus();
  const std::string whose = expert.empty() ? "" : fmt::format(" of expert '{}'", expert);
  const std::string what = InWords(*difference, whose);
  if (!leniency.lenient) {
    return InvalidArgument(
        "{}; is the file whole? A lenient load leaves the first as they are and drops the others, as PEFT "
        "does",
        what);
  }
  if (!present.empty() && difference->extra.size() == present.size()) {
    return InvalidArgument("{}; nothing would be left", what);
  }
  DropLora(expert, difference->extra, modules);
  leniency.warnings->push_back(what +
                               (difference->missing.empty() ? "; dropped" : "; left as in the base model"));
  if (!difference->missing.empty() && !difference->extra.empty()) leniency.warnings->back() += ", or dropped";
  return absl::OkStatus();
}

Safetensors WithoutOtherModules(const Safetensors& file, const AdapterShape& shape, Leniency leniency) {
  Safetensors::Tensors kept;
  std::vector<std::string> dropped;
  for (const auto& [name, tensor] : file.tensors()) {
    if (leniency.lenient && IsOfAnotherModule(name, shape.layers)) {
      dropped.push_back(name);
    } else {
      kept.emplace(name, tensor);
    }
  }
  if (!dropped.empty()) {
    leniency.warnings->push_back(
        fmt::format("{} tensors are of modules that the model does not have: {}; dropped", dropped.size(),
                    Listed(dropped)));
  }
  return Safetensors::View(std::move(kept));
}

}  // namespace hydrad
