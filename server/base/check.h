// CHECKs: what only a mistake in the program can break.
#ifndef HYDRAD_SERVER_BASE_CHECK_H_
#define HYDRAD_SERVER_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

namespace hydrad {

// Writes what failed to stderr and aborts.
[[noreturn]] inline void CheckFailed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
  std::abort();
}

}  // namespace hydrad

// Aborts unless `condition` holds, in every build. User input never reaches one that fails.
#define HYDRAD_CHECK(condition) \
  (static_cast<bool>(condition) ? (void)0 : ::hydrad::CheckFailed(__FILE__, __LINE__, #condition))

#endif  // HYDRAD_SERVER_BASE_CHECK_H_
