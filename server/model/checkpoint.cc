#include "server/model/checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/base/background.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr size_t kReadAtOnce = 128 << 10;  // what stays in the caches until it is hashed

}  // namespace

absl::StatusOr<std::unique_ptr<const Checkpoint>> Checkpoint::Open(const std::string& dir) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->dir_ = dir;
  const absl::StatusOr<std::string> index = ReadFile(dir + "/" + kIndex);
  if (absl::IsNotFound(index.status())) {
    RETURN_IF_ERROR(checkpoint->AddFile(dir, "model.safetensors"));
    const auto& [name, shard] = *checkpoint->shards_.begin();
    for (const auto& [tensor, place] : shard.places) {
      checkpoint->tensors_.emplace(tensor, Place{&name, &place});
    }
    return std::unique_ptr<const Checkpoint>(std::move(checkpoint));
  }
  RETURN_IF_ERROR(index.status());
  RETURN_IF_ERROR(checkpoint->AddShards(dir, *index));
  return std::unique_ptr<const Checkpoint>(std::move(checkpoint));
}

absl::Status Checkpoint::AddFile(const std::string& dir, const std::string& name) {
  if (shards_.contains(name)) return absl::OkStatus();
  if (name.empty() || name.find('/') != std::string::npos) {
    return InvalidArgument("{}/{}: '{}' is not the name of a file of this directory", dir, kIndex, name);
  }
  Shard shard;
  ASSIGN_OR_RETURN(shard.file, File::Open(dir + "/" + name));
  const auto read = [&](uint64_t begin, std::span<std::byte> out) { return shard.file->ReadAt(begin, out); };
  auto places = Safetensors::ReadPlaces(shard.file->size(), Safetensors::kMaxModelHeader, read);
  if (!places.ok()) return Annotate(places.status(), dir + "/" + name);
  shard.places = *std::move(places);
  shards_.emplace(name, std::move(shard));
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
    const auto shard = shards_.find(file.get<std::string>());
    const auto place = shard->second.places.find(tensor);
    if (place == shard->second.places.end()) {
      return InvalidArgument("{}/{}: no tensor '{}'", dir, shard->first, tensor);
    }
    tensors_.emplace(tensor, Place{&shard->first, &place->second});
  }
  return absl::OkStatus();
}

absl::StatusOr<HostMatrix> Checkpoint::Find(std::string_view name, int rows, int cols, Place* place) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return InvalidArgument("{}: no tensor '{}'", dir_, name);
  *place = found->second;
  absl::StatusOr<HostMatrix> matrix = MatrixOf(name, place->tensor->dtype, place->tensor->shape);
  if (!matrix.ok()) return Annotate(matrix.status(), dir_ + "/" + *place->shard);
  if (matrix->rows != rows || matrix->cols != cols) {
    return InvalidArgument("{}/{}: tensor '{}': shape [{}, {}], not [{}, {}]", dir_, *place->shard, name,
                           matrix->rows, matrix->cols, rows, cols);
  }
  return matrix;
}

absl::Status Checkpoint::ReadBytes(const Place& place, uint64_t begin, std::span<std::byte> out,
                                   Sha256& digest) const {
  const File& file = *shards_.at(*place.shard).file;
  for (size_t at = 0; at < out.size(); at += kReadAtOnce) {
    const std::span<std::byte> some = out.subspan(at, std::min(kReadAtOnce, out.size() - at));
    const absl::Status read = file.ReadAt(begin + at, some);
    if (absl::IsInvalidArgument(read) && WasRead(place)) return Changed(place);  // it has become shorter
    RETURN_IF_ERROR(read);
    digest.Update(some);
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::Changed(const Place& place) const {
  return FailedPrecondition("the base model's file {} has changed since it was loaded; start the daemon anew",
                            *place.shard);
}

bool Checkpoint::WasRead(const Place& place) const {
  MutexLock lock(&mu_);
  return digests_.contains(place.tensor);
}

absl::Status Checkpoint::CheckDigest(const Place& place, const Sha256::Digest& digest) const {
  MutexLock lock(&mu_);
  const auto [known, fresh] = digests_.emplace(place.tensor, digest);
  return fresh || known->second == digest ? absl::OkStatus() : Changed(place);
}

absl::StatusOr<OwnedMatrix> Checkpoint::Read(std::string_view name, int rows, int cols) const {
  Place place;
  OwnedMatrix matrix;
  ASSIGN_OR_RETURN(matrix.view, Find(name, rows, cols, &place));
  matrix.bytes = std::make_unique_for_overwrite<std::byte[]>(place.tensor->bytes);
  matrix.view.data = matrix.bytes.get();
  Sha256 digest;
  RETURN_IF_ERROR(ReadBytes(place, place.tensor->begin, {matrix.bytes.get(), place.tensor->bytes}, digest));
  RETURN_IF_ERROR(CheckDigest(place, digest.Finish()));
  return matrix;
}

absl::Status Checkpoint::Visit(std::string_view name, int rows, int cols, Visitor visit) const {
  Place place;
  ASSIGN_OR_RETURN(HostMatrix block, Find(name, rows, cols, &place));
  const size_t row_bytes = BytesOf(cols, block.dtype);
  const int at_once = static_cast<int>(std::max<size_t>(1, kReadAtOnce / std::max<size_t>(1, row_bytes)));
  std::vector<std::byte> bytes(row_bytes * static_cast<size_t>(std::min(at_once, rows)));
  block.data = bytes.data();
  Sha256 digest;
  for (int first = 0; first < rows; first += at_once) {
    Throttle();
    block.rows = std::min(at_once, rows - first);
    const std::span<std::byte> out = std::span(bytes).first(row_bytes * static_cast<size_t>(block.rows));
    const uint64_t begin = place.tensor->begin + row_bytes * static_cast<uint64_t>(first);
    RETURN_IF_ERROR(ReadBytes(place, begin, out, digest));
    visit(first, block);
  }
  return CheckDigest(place, digest.Finish());
}

std::vector<std::string_view> Checkpoint::names() const {
  std::vector<std::string_view> names;
  for (const auto& [name, place] : tensors_) names.push_back(name);
  return names;
}

}  // namespace hydrad
