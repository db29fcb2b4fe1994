#include "server/base/pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace hydrad {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

constexpr size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void* Map(size_t bytes, bool huge) {
  const size_t size = RoundUp(bytes, kPage);
  const size_t slack = huge && size >= kHugePage ? kHugePage : 0;
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

size_t TakenBytes(size_t bytes) { return bytes < kPagesFrom ? bytes : RoundUp(bytes, kPage); }

void* TakePages(size_t bytes, bool huge) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  if (bytes >= kPagesFrom) return Map(bytes, huge);
  return std::aligned_alloc(kAlignment, RoundUp(bytes + 1, kAlignment));
}

void GivePages(void* block, size_t bytes) {
  if (bytes < kPagesFrom) {
    std::free(block);
  } else if (block != nullptr) {
    munmap(block, RoundUp(bytes, kPage));
  }
}

Pages MakePages(size_t bytes) {
  void* const block = TakePages(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return Pages(static_cast<std::byte*>(block), PagesDeleter{bytes});
}

}  // namespace hydrad
