// Large blocks of memory, in pages of their own.
//
// The heap keeps what is given back to it, in holes that the next block does not fit: loading and evicting a
// thousand adapters made the process grow to 3.5 times what they had been given. Pages go back to the system
// at once, and what they take is known.
#ifndef HYDRAD_SERVER_BASE_PAGES_H_
#define HYDRAD_SERVER_BASE_PAGES_H_

#include <cstddef>
#include <memory>

namespace hydrad {

inline constexpr size_t kPagesFrom = size_t{64} << 10;  // smaller blocks come from the heap

// What a block of `bytes` takes: whole pages where it has pages of its own.
size_t TakenBytes(size_t bytes);

// A block, aligned to 64 bytes; null when the system refuses. Contents unspecified. `huge`: in huge pages
// where it is large and the system has them, for what is read over and over.
void* TakePages(size_t bytes, bool huge = false);
// `block` is one that TakePages(bytes) gave, or null.
void GivePages(void* block, size_t bytes);

// A block that goes with its owner.
struct PagesDeleter {
  size_t bytes = 0;
  void operator()(std::byte* block) const { GivePages(block, bytes); }
};
using Pages = std::unique_ptr<std::byte[], PagesDeleter>;
// Throws std::bad_alloc.
Pages MakePages(size_t bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_PAGES_H_
