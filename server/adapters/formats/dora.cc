#include "server/adapters/formats/dora.h"

#include <cmath>

#include "server/adapters/formats/norms.h"
#include "server/adapters/formats/own_rows.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kMagnitudes[] = "lora_magnitude_vector";

}  // namespace

absl::StatusOr<std::vector<float>> TakeMagnitudes(bool use_dora, ModuleTensors& module) {
  const bool there = module.parts.contains(kMagnitudes);
  const std::string name = module.TensorName(kMagnitudes);
  if (there && !use_dora) {
    return InvalidArgument("tensor '{}': is of DoRA, but adapter_config.json does not set use_dora", name);
  }
  if (!use_dora || module.parts.empty()) return std::vector<float>();
  if (!there) return InvalidArgument("tensor '{}': is missing", name);
  ASSIGN_OR_RETURN(std::vector<float> magnitudes, module.Vector(kMagnitudes, module.out));
  module.parts.erase(kMagnitudes);
  return magnitudes;
}

absl::Status ApplyMagnitudes(const std::vector<float>& magnitudes, const ModuleTensors& module,
                             const HostMatrix& own, const BaseWeights* base, ProjectionWeights* weights) {
  ASSIGN_OR_RETURN(base, Needed(base, module.TensorName(kMagnitudes)));
  const auto show = [&](absl::FunctionRef<void(int, const HostMatrix&)> visit) {
    if (own.data == nullptr) return base->Visit(module.path, visit);
    visit(0, own);
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const std::vector<float> bias, base->Bias(module.path));
  const auto norms_of = module.projection == Projection::kEmbedding ? ColumnNorms : RowNorms;
  ASSIGN_OR_RETURN(const std::vector<double> norms,
                   norms_of(show, weights->a[0], weights->b[0], weights->scale[0]));
  if (!bias.empty()) weights->out_bias.resize(bias.size());
  for (size_t n = 0; n < norms.size(); ++n) {
    const double scale = magnitudes[n] / norms[n];
    if (!std::isfinite(scale)) {
      return InvalidArgument("tensor '{}': [{}] scales a weight vector of norm {}",
                             module.TensorName(kMagnitudes), n, norms[n]);
    }
    weights->out_scale.push_back(static_cast<float>(scale));
    if (!bias.empty()) weights->out_bias[n] = static_cast<float>((1 - scale) * bias[n]);
  }
  return absl::OkStatus();
}

}  // namespace hydrad
