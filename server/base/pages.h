// Large blocks of memory, in pages of their own.
//
// The heap keeps freed memory in holes that the next block may not fit: loading and evicting a thousand
// adapters made the process grow to 3.5 times what they had been given. Pages go back to the system at once,
// and what they take is known.
#ifndef HYDRAD_SERVER_BASE_PAGES_H_
#define HYDRAD_SERVER_BASE_PAGES_H_

#include <cstddef>
#include <memory>

namespace hydrad {

inline constexpr size_t kPagesFrom = size_t{64} << 10;  // smaller blocks come from the heap

// Returns the bytes that a block of `bytes` takes: whole pages where it has pages of its own.
size_t TakenBytes(size_t bytes);

// Returns a block aligned to 64 bytes with unspecified contents, or null when the system refuses. With
// `huge`, a large block is in huge pages where the system has them: for what is read over and over.
void* TakePages(size_t bytes, bool huge = false);
// Gives back a block that TakePages(bytes) returned; null does nothing.
void GivePages(void* block, size_t bytes);

struct PagesDeleter {
  size_t bytes = 0;
  void operator()(std::byte* block) const { GivePages(block, bytes); }
};
using Pages = std::unique_ptr<std::byte[], PagesDeleter>;
// Returns a block that is given back with its owner. Throws std::bad_alloc.
Pages MakePages(size_t bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_PAGES_H_
