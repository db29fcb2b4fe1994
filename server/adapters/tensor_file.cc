#include "server/adapters/tensor_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "server/base/background.h"
#include "server/base/foreign_content.h"

namespace hydrad {
namespace {

constexpr size_t kReadAtOnce = 128 << 10;

// Fills `bytes` from `at` on.
absl::Status ReadRange(DiskFile& file, size_t at, size_t count, const Bytes& bytes) {
  for (const size_t end = at + count; at < end;) {
    Breathe();
    const size_t some = std::min(end - at, kReadAtOnce);
    ASSIGN_OR_RETURN(const size_t got, file.ReadAt(at, {bytes.data.get() + at, some}));
    if (got == 0) return InvalidArgument("became shorter while it was read; publish files by renaming them");
    at += got;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Safetensors> ReadTensorHeader(DiskFile& file, uint64_t max_size, Bytes* bytes) {
  if (file.size() > max_size) {
    return InvalidArgument("is of {} bytes, more than the {} that are read", file.size(), max_size);
  }
  *bytes = {std::make_unique_for_overwrite<std::byte[]>(file.size()), file.size()};
  uint64_t length = 0;
  static_assert(std::endian::native == std::endian::little);
  if (bytes->size >= sizeof(length)) {
    RETURN_IF_ERROR(ReadRange(file, 0, std::min(bytes->size, kForeignContentBytes), *bytes));
    std::memcpy(&length, bytes->data.get(), sizeof(length));
    const bool sane = length <= Safetensors::kMaxAdapterHeader && length <= bytes->size - sizeof(length);
    if (sane) RETURN_IF_ERROR(ReadRange(file, sizeof(length), length, *bytes));
  }
  return Safetensors::ParseBytes(bytes->span(), Safetensors::kMaxAdapterHeader);
}

absl::StatusOr<Safetensors> ReadTensors(DiskFile& file, uint64_t max_size,
                                        const std::function<bool(std::string_view)>& wanted, Bytes* bytes) {
  ASSIGN_OR_RETURN(const Safetensors all, ReadTensorHeader(file, max_size, bytes));
  Safetensors::Tensors tensors;
  for (const auto& [name, tensor] : all.tensors()) {
    if (!wanted(name)) continue;
    const size_t at = static_cast<size_t>(tensor.data.data() - bytes->data.get());
    RETURN_IF_ERROR(ReadRange(file, at, tensor.data.size(), *bytes));
    tensors.emplace(name, tensor);
  }
  return Safetensors::View(std::move(tensors));
}

}  // namespace hydrad
