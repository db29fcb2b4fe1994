// Text to stderr from places where the log cannot be used: signal handlers, and when other threads may be
// stuck while they hold its lock.
#ifndef HYDRAD_SERVER_BASE_STDERR_TEXT_H_
#define HYDRAD_SERVER_BASE_STDERR_TEXT_H_

#include <cstdint>
#include <string_view>

namespace hydrad {

// Writes `text`, and gives up what nobody takes within a fifth of a second (a full pipe). Async-signal-safe.
void PutToStderr(std::string_view text);

// The digits of a number. Async-signal-safe.
class Digits {
 public:
  explicit Digits(uint64_t value, unsigned base = 10);
  std::string_view text() const { return {begin_, static_cast<size_t>(buffer_ + sizeof buffer_ - begin_)}; }

 private:
  char buffer_[64];
  const char* begin_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_STDERR_TEXT_H_
