#include "server/adapters/formats/tensor_file.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "server/base/background.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr size_t kReadAtOnce = 128 << 10;

// Fills `out` from byte `at` of the file on.
absl::Status ReadRange(DiskFile& file, uint64_t at, std::span<std::byte> out) {
  while (!out.empty()) {
    Throttle();
    ASSIGN_OR_RETURN(const size_t got, file.ReadAt(at, out.first(std::min(out.size(), kReadAtOnce))));
    if (got == 0) return Unavailable("became shorter while it was read; publish files by renaming them");
    at += got;
    out = out.subspan(got);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Safetensors::Places> ReadTensorPlaces(DiskFile& file, uint64_t max_size) {
  if (file.size() > max_size) {
    return InvalidArgument("is of {} bytes, more than the {} that are read", file.size(), max_size);
  }
  return Safetensors::ReadPlaces(
      file.size(), Safetensors::kMaxAdapterHeader,
      [&file](uint64_t at, std::span<std::byte> out) { return ReadRange(file, at, out); });
}

absl::StatusOr<Safetensors> ReadTensors(DiskFile& file, uint64_t max_size,
                                        const std::function<bool(std::string_view)>& wanted, Bytes* bytes) {
  ASSIGN_OR_RETURN(Safetensors::Places places, ReadTensorPlaces(file, max_size));
  std::erase_if(places, [&](const auto& place) { return !wanted(place.first); });
  size_t size = 0;
  for (const auto& [name, place] : places) size += place.bytes;
  *bytes = {MakePages(size), size};
  Safetensors::Tensors tensors;
  std::byte* next = bytes->data.get();
  for (auto& [name, place] : places) {
    const std::span<std::byte> data(next, place.bytes);
    RETURN_IF_ERROR(ReadRange(file, place.begin, data));
    next += place.bytes;
    tensors.emplace(name, TensorInfo{std::move(place.dtype), std::move(place.shape), data});
  }
  return Safetensors::View(std::move(tensors));
}

}  // namespace hydrad
