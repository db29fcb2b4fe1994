#include "server/model/checkpoint.h"

#include <nlohmann/json.hpp>

namespace hydrad {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& dir) {
  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  const auto index = MappedFile::Open(dir + "/" + kIndex);
  if (absl::IsNotFound(index.status())) {
    RETURN_IF_ERROR(checkpoint.AddFile(dir, "model.safetensors"));
    const auto& [name, file] = *checkpoint.files_.begin();
    for (const auto& [tensor, info] : file.tensors())
      checkpoint.tensors_.emplace(tensor, Place{&name, &info});
    return checkpoint;
  }
  RETURN_IF_ERROR(index.status());
  const std::span<const std::byte> text = (*index)->bytes();
  RETURN_IF_ERROR(checkpoint.AddShards(dir, {reinterpret_cast<const char*>(text.data()), text.size()}));
  return checkpoint;
}

absl::Status Checkpoint::AddFile(const std::string& dir, const std::string& name) {
  if (files_.contains(name)) return absl::OkStatus();
  if (name.empty() || name.find('/') != std::string::npos) {
    return InvalidArgument("{}/{}: '{}' is not the name of a file of this directory", dir, kIndex, name);
  }
  ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(dir + "/" + name));
  auto file = Safetensors::Parse(std::move(mapped), Safetensors::kMaxModelHeader);
  if (!file.ok()) return Annotate(file.status(), dir + "/" + name);
  files_.emplace(name, *std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::AddShards(const std::string& dir, std::string_view index) {
  const auto json = nlohmann::json::parse(index.begin(), index.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return InvalidArgument("{}/{}: no weight_map", dir, kIndex);
  }
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string()) return InvalidArgument("{}/{}: '{}' is given no file name", dir, kIndex, tensor);
    RETURN_IF_ERROR(AddFile(dir, file.get<std::string>()));
    const auto shard = files_.find(file.get<std::string>());
    const TensorInfo* info = shard->second.Find(tensor);
    if (info == nullptr) return InvalidArgument("{}/{}: no tensor '{}'", dir, shard->first, tensor);
    tensors_.emplace(tensor, Place{&shard->first, info});
  }
  return absl::OkStatus();
}

absl::StatusOr<HostMatrix> Checkpoint::Matrix(std::string_view name, int rows, int cols) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return InvalidArgument("{}: no tensor '{}'", dir_, name);
  const auto& [file, tensor] = found->second;
  absl::StatusOr<HostMatrix> matrix = AsMatrix(name, *tensor);
  if (!matrix.ok()) return Annotate(matrix.status(), dir_ + "/" + *file);
  if (matrix->rows != rows || matrix->cols != cols) {
    return InvalidArgument("{}/{}: tensor '{}': shape [{}, {}], not [{}, {}]", dir_, *file, name,
                           matrix->rows, matrix->cols, rows, cols);
  }
  return matrix;
}

std::vector<std::string_view> Checkpoint::names() const {
  std::vector<std::string_view> names;
  for (const auto& [name, place] : tensors_) names.push_back(name);
  return names;
}

}  // namespace hydrad
