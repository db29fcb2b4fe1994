#include "server/adapters/formats/module_tensors.h"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "server/base/invalid_argument.h"

namespace hydrad {
namespace {

// {in, out} features of a projection.
std::pair<int, int> Features(Projection projection, const AdapterShape& shape) {
  switch (projection) {
    case Projection::kQ:
      return {shape.hidden, shape.q_out};
    case Projection::kK:
    case Projection::kV:
      return {shape.hidden, shape.kv_out};
    case Projection::kO:
      return {shape.q_out, shape.hidden};
    case Projection::kGate:
    case Projection::kUp:
      return {shape.hidden, shape.ffn};
    case Projection::kDown:
      return {shape.ffn, shape.hidden};
    case Projection::kEmbedding:
      return {shape.vocab, shape.hidden};
    case Projection::kHead:
      return {shape.hidden, shape.vocab};
  }
  return {0, 0};
}

bool Equal(const TensorInfo& x, const TensorInfo& y) {
  return x.dtype == y.dtype && x.shape == y.shape && std::ranges::equal(x.data, y.data);
}

absl::Status TensorError(std::string_view name, std::string_view reason) {
  return InvalidArgument("tensor '{}': {}", name, reason);
}

}  // namespace

std::string ModuleTensors::TensorName(std::string_view part) const {
  if (const auto found = parts.find(part); found != parts.end()) return std::string(found->second.name);
  const bool whole = part.starts_with("lora_embedding_") || part == "lora_magnitude_vector" ||
                     part == "lora_B.bias" || part == kVeloraPart || part == kWeightPart ||
                     part == kBiasPart || part == kTrainedTokensPart;
  if (part == kTrainedTokensPart) part = "token_adapter.trainable_tokens_delta";
  return fmt::format("base_model.model.{}.{}{}", path, part, whole ? "" : ".weight");
}

absl::Status ModuleTensors::CheckParts(std::span<const std::string> expected, std::string_view hint) const {
  for (const auto& [part, tensor] : parts) {
    if (std::ranges::find(expected, part) == expected.end()) return TensorError(TensorName(part), hint);
  }
  for (const std::string& part : expected) {
    if (!parts.contains(part)) return TensorError(TensorName(part), "is missing");
  }
  return absl::OkStatus();
}

absl::StatusOr<HostMatrix> ModuleTensors::Matrix(std::string_view part, int rows, int cols,
                                                 TensorStorage& storage) const {
  auto matrix = CheckedMatrix(*parts.at(part).tensor, rows, cols, storage);
  if (!matrix.ok()) return TensorError(TensorName(part), std::string(matrix.status().message()));
  return matrix;
}

absl::StatusOr<std::vector<float>> ModuleTensors::Vector(std::string_view part, int size) const {
  auto vector = CheckedVector(*parts.at(part).tensor, size);
  if (!vector.ok()) return TensorError(TensorName(part), std::string(vector.status().message()));
  return vector;
}

absl::StatusOr<std::vector<ModuleTensors>> SortByModule(const Safetensors& file, const AdapterShape& shape,
                                                        bool (*skip)(std::string_view)) {
  std::map<std::pair<int, Projection>, ModuleTensors> modules;
  for (const auto& [name, tensor] : file.tensors()) {
    if (skip != nullptr && skip(name)) continue;
    const auto key = ParseTensorKey(name, shape.layers);
    if (!key.ok()) return TensorError(name, std::string(key.status().message()));
    ModuleTensors& module = modules[{key->layer, key->projection}];
    module.layer = key->layer;
    module.projection = key->projection;
    module.path = key->path;
    std::tie(module.in, module.out) = Features(key->projection, shape);
    const auto [other, fresh] = module.parts.emplace(key->part, PartTensor{name, &tensor});
    // PEFT writes a matrix of its own under two names, where the model has other tokens than the base.
    const bool again = !fresh && key->part == kWeightPart && Equal(*other->second.tensor, tensor);
    if (!fresh && !again) return TensorError(name, fmt::format("is there as '{}' too", other->second.name));
  }
  if (file.tensors().empty()) return InvalidArgument("holds no tensors");
  std::vector<ModuleTensors> sorted;
  for (auto& [place, module] : modules) sorted.push_back(std::move(module));
  return sorted;
}

}  // namespace hydrad
