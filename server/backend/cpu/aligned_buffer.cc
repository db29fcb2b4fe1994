#include "server/backend/cpu/aligned_buffer.h"

#include "server/base/pages.h"
#include "server/base/status.h"

namespace hydrad {

absl::StatusOr<std::unique_ptr<AlignedBuffer>> AlignedBuffer::Allocate(size_t bytes) {
  void* data = TakePages(bytes, /*huge=*/true);
  if (data == nullptr) return ResourceExhausted("cannot allocate {} bytes", bytes);
  Poison(data, bytes);
  return std::unique_ptr<AlignedBuffer>(new AlignedBuffer(data, bytes));
}

AlignedBuffer::~AlignedBuffer() {
  if (bytes_ < kPagesFrom) Poison(data_, bytes_);
  GivePages(data_, bytes_);
}

}  // namespace hydrad
