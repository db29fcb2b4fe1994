#include "server/base/stderr_text.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace hydrad {

void PutToStderr(std::string_view text) {
  constexpr size_t kAtOnce = 512;  // POSIX: what is not more never blocks when poll says that there is room
  while (!text.empty()) {
    pollfd ready = {STDERR_FILENO, POLLOUT, 0};
    if (poll(&ready, 1, 200) != 1) return;
    const ssize_t n = write(STDERR_FILENO, text.data(), text.size() < kAtOnce ? text.size() : kAtOnce);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return;
    if (n > 0) text.remove_prefix(static_cast<size_t>(n));
  }
}

Digits::Digits(uint64_t value, unsigned base) : begin_(buffer_ + sizeof buffer_) {
  char* at = buffer_ + sizeof buffer_;
  do {
    *--at = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  begin_ = at;
}

}  // namespace hydrad
