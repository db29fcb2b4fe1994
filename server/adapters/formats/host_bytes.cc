#include "server/adapters/formats/host_bytes.h"

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "server/adapters/formats/adapter_directory.h"
#include "server/adapters/formats/moa.h"  // IsRouterTensor
#include "server/adapters/formats/own_rows.h"
#include "server/adapters/formats/read_moa.h"
#include "server/adapters/formats/tensor_file.h"
#include "server/base/pages.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// Errors of the disk itself; the others are ReadAdapter's to tell.
absl::StatusOr<uint64_t> ZeroUnlessInternal(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal) return status;
  return 0;
}

constexpr std::string_view kTrainedRows = "trainable_tokens_delta";

// Of which rows may be copied, see TakeOwnRows; with trained tokens beside it, all of them.
bool IsMatrixOfTokens(std::string_view name) {
  const bool end = name.find("embed_tokens.") != name.npos || name.find("lm_head.") != name.npos;
  return end && name.find("lora_") == name.npos;
}

// Beside the file. Of a vector, which becomes floats, there may be a second one (the bias of a DoRA).
uint64_t BytesBeside(std::string_view name, const TensorPlace& tensor, bool bundle, bool trained) {
  const bool half = tensor.dtype == "F16", router = IsRouterTensor(name);
  const uint64_t bytes = tensor.bytes, elements = half || tensor.dtype == "BF16" ? bytes / 2 : bytes / 4;
  const uint64_t wide = half ? elements * sizeof(float) : 0;
  if (router) return TakenBytes(wide) + elements * sizeof(float);
  if (tensor.shape.size() < 2) return wide + 2 * elements * sizeof(float);
  const uint64_t copied = !IsMatrixOfTokens(name) ? 0
                          : trained               ? elements * sizeof(float)
                                                  : (half ? wide : bytes) / kCopiedPart;
  return TakenBytes(bundle && !half ? bytes : wide) + TakenBytes(copied);
}

// The bytes that a directory's one file takes.
absl::StatusOr<uint64_t> BytesOfFile(DiskDirectory& directory, uint64_t max_file_bytes, bool bundle) {
  const auto file = directory.OpenFile(kTensorFile);
  if (!file.ok()) return ZeroUnlessInternal(file.status());
  const auto places = ReadTensorPlaces(**file, max_file_bytes);
  if (!places.ok()) return ZeroUnlessInternal(places.status());
  uint64_t bytes = TakenBytes((*file)->size());
  const bool trained = std::ranges::any_of(
      *places, [](const auto& place) { return place.first.find(kTrainedRows) != std::string::npos; });
  for (const auto& [name, tensor] : *places) bytes += BytesBeside(name, tensor, bundle, trained);
  return bytes;
}

absl::StatusOr<uint64_t> BytesOfDirectory(Disk& disk, const std::string& path, uint64_t max_file_bytes) {
  const auto directory = disk.OpenDirectory(path);
  if (!directory.ok()) return ZeroUnlessInternal(directory.status());
  Sha256 unused;
  const auto config = ReadConfig(**directory, unused);
  if (!config.ok()) return ZeroUnlessInternal(config.status());
  ASSIGN_OR_RETURN(uint64_t bytes, BytesOfFile(**directory, max_file_bytes, config->moa.has_value()));
  if (!config->moa) return bytes;
  for (const MoaConfig::Expert& expert : config->moa->experts) {
    if (expert.path.empty()) continue;
    std::string at = expert.path;
    const auto apart = OpenExpert(disk, path, &at);
    if (!apart.ok()) return ZeroUnlessInternal(apart.status());
    ASSIGN_OR_RETURN(const uint64_t more, BytesOfFile(**apart, max_file_bytes, false));
    bytes += more;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<uint64_t> HostBytesToRead(Disk& disk, const std::string& path, uint64_t max_file_bytes) {
  try {
    return BytesOfDirectory(disk, path, max_file_bytes);
  } catch (const std::bad_alloc&) {
    return 0;  // ReadAdapter will not find it either
  }
}

}  // namespace hydrad
