#include "server/adapters/formats/moa.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "server/backend/host_rows.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr std::string_view kRouterMark = ".moa_router.";

std::string RouterName(int layer, std::string_view part) {
  return fmt::format("base_model.model.model.layers.{}.moa_router.{}", layer, part);
}

// The routers' tensors of a file; those that were read are remembered, so that one left over shows.
class RouterReader {
 public:
  RouterReader(const Safetensors& file, TensorStorage& storage) : file_(file), storage_(storage) {}

  bool Has(int layer, std::string_view part) const { return file_.Find(RouterName(layer, part)) != nullptr; }

  // A matrix of [rows, cols], a vector of [rows] where cols is 0, as floats.
  absl::StatusOr<std::vector<float>> Read(int layer, std::string_view part, int rows, int cols) {
    const std::string name = RouterName(layer, part);
    const TensorInfo* tensor = file_.Find(name);
    if (tensor == nullptr) return InvalidArgument("tensor '{}': is missing", name);
    read_.insert(name);
    TensorInfo shaped = *tensor;
    if (cols == 0 && shaped.shape.size() == 1) shaped.shape.insert(shaped.shape.begin(), 1);
    const auto matrix = CheckedMatrix(shaped, cols == 0 ? 1 : rows, cols == 0 ? rows : cols, storage_);
    if (!matrix.ok()) return InvalidArgument("tensor '{}': {}", name, std::string(matrix.status().message()));
    std::vector<float> values(static_cast<size_t>(matrix->rows) * matrix->cols);
    CopyRows(*matrix, 0, matrix->rows, values.data());
    return values;
  }

  absl::Status CheckNoneLeft() const {
    for (const auto& [name, tensor] : file_.tensors()) {
      if (IsRouterTensor(name) && !read_.contains(name)) {
        return InvalidArgument(
            "tensor '{}': is not a router of a layer of the model, or a bias where layer 0 has none", name);
      }
    }
    return absl::OkStatus();
  }

 private:
  const Safetensors& file_;
  TensorStorage& storage_;
  std::set<std::string> read_;
};

// A factor in memory of its own: F16 is there already.
absl::StatusOr<HostMatrix> OwnMatrix(const ModuleTensors& module, const std::string& part, int rows, int cols,
                                     TensorStorage& storage) {
  ASSIGN_OR_RETURN(HostMatrix matrix, module.Matrix(part, rows, cols, storage));
  if (matrix.data == module.parts.at(part).tensor->data.data()) Keep(matrix, storage);
  return matrix;
}

// The pair of one expert for one module, if it has one.
absl::Status ReadPair(const MoaConfig::Expert& expert, const ModuleTensors& module, TensorStorage& storage,
                      AdapterWeights* out) {
  const std::string a = "lora_A." + expert.name, b = "lora_B." + expert.name;
  if (!module.parts.contains(a) && !module.parts.contains(b)) return absl::OkStatus();
  for (const std::string& part : {a, b}) {
    if (!module.parts.contains(part))
      return InvalidArgument("tensor '{}': is missing", module.TensorName(part));
  }
  ProjectionWeights weights;
  weights.layer = module.layer;
  weights.projection = module.projection;
  ASSIGN_OR_RETURN(weights.a.emplace_back(), OwnMatrix(module, a, expert.rank, module.in, storage));
  ASSIGN_OR_RETURN(weights.b.emplace_back(), OwnMatrix(module, b, module.out, expert.rank, storage));
  weights.scale = {static_cast<float>(expert.alpha / expert.rank)};
  out->projections.push_back(std::move(weights));
  return absl::OkStatus();
}

}  // namespace

bool IsRouterTensor(std::string_view name) { return name.find(kRouterMark) != std::string_view::npos; }

absl::Status ReadRouters(const Safetensors& file, const AdapterShape& shape, TensorStorage& storage,
                         std::span<ExpertWeights> experts) {
  const bool any = std::ranges::any_of(file.tensors(), [](const auto& t) { return IsRouterTensor(t.first); });
  if (!any) return absl::OkStatus();
  RouterReader reader(file, storage);
  const int count = static_cast<int>(experts.size());
  const bool biased = reader.Has(0, "bias");
  for (ExpertWeights& expert : experts) {
    expert.router.clear();
    expert.router_bias.clear();
  }
  for (int layer = 0; layer < shape.layers; ++layer) {
    ASSIGN_OR_RETURN(const std::vector<float> rows, reader.Read(layer, "weight", count, shape.hidden));
    std::vector<float> bias;
    if (biased) {
      ASSIGN_OR_RETURN(bias, reader.Read(layer, "bias", count, 0));
    }
    for (int e = 0; e < count; ++e) {
      const auto row = rows.begin() + static_cast<std::ptrdiff_t>(e) * shape.hidden;
      experts[e].router.insert(experts[e].router.end(), row, row + shape.hidden);
      if (biased) experts[e].router_bias.push_back(bias[e]);
    }
  }
  return reader.CheckNoneLeft();
}

absl::Status CheckMoaParts(const MoaConfig& config, std::span<const ModuleTensors> modules) {
  for (const ModuleTensors& module : modules) {
    for (const auto& [part, tensor] : module.parts) {
      const bool known = std::ranges::any_of(config.experts, [&part = part](const MoaConfig::Expert& expert) {
        return expert.path.empty() && (part == "lora_A." + expert.name || part == "lora_B." + expert.name);
      });
      if (!known) {
        return InvalidArgument("tensor '{}': is not lora_A or lora_B of one of the bundle's experts",
                               module.TensorName(part));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ExpertWeights> ReadMoaExpert(const MoaConfig::Expert& expert,
                                            std::span<const ModuleTensors> modules, TensorStorage& storage) {
  ExpertWeights read;
  read.name = expert.name;
  for (const ModuleTensors& module : modules) {
    RETURN_IF_ERROR(ReadPair(expert, module, storage, &read.weights));
  }
  if (read.weights.projections.empty()) return InvalidArgument("expert '{}': has no tensors", expert.name);
  return read;
}

bool IsTensorOf(const MoaConfig::Expert& expert, std::string_view name) {
  return name.find(".lora_A." + expert.name + ".") != std::string_view::npos ||
         name.find(".lora_B." + expert.name + ".") != std::string_view::npos;
}

}  // namespace hydrad
