#include "server/backend/cpu/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

namespace hydrad {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMapFrom = size_t{1} << 20;  // smaller pieces come from the heap

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Pages of their own, so that freeing gives them back at once; aligned to a huge page where one fits.
void* Map(size_t bytes) {
  const size_t size = RoundUp(bytes, kPage);
  const size_t slack = size >= kHugePage ? kHugePage : 0;
  void* mapped = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  if (slack == 0) return mapped;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = RoundUp(begin, kHugePage);
  if (aligned > begin) munmap(mapped, aligned - begin);
  if (begin + slack > aligned) munmap(reinterpret_cast<void*>(aligned + size), begin + slack - aligned);
  madvise(reinterpret_cast<void*>(aligned), size, MADV_HUGEPAGE);  // a wish; without it all is only slower
  return reinterpret_cast<void*>(aligned);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AlignedBuffer>> AlignedBuffer::Allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return ResourceExhausted("cannot allocate {} bytes", bytes);
  void* data =
      bytes >= kMapFrom ? Map(bytes) : std::aligned_alloc(kAlignment, RoundUp(bytes + 1, kAlignment));
  if (data == nullptr) return ResourceExhausted("cannot allocate {} bytes", bytes);
  Poison(data, bytes);
  return std::unique_ptr<AlignedBuffer>(new AlignedBuffer(data, bytes));
}

AlignedBuffer::~AlignedBuffer() {
  if (bytes_ >= kMapFrom) {
    munmap(data_, RoundUp(bytes_, kPage));
    return;
  }
  Poison(data_, bytes_);
  std::free(data_);
}

}  // namespace hydrad
