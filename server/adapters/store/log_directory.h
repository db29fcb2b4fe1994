// What a journal asks of a file system: a few small files of one directory, durable when it says so. An
// interface, so that tests can fail the n-th call and lose what was not synced.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_LOG_DIRECTORY_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_LOG_DIRECTORY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace hydrad {

// For one thread at a time. Errors name the file; they are for operators.
class LogDirectory {
 public:
  virtual ~LogDirectory() = default;
  // The whole file; "" if there is none.
  virtual absl::StatusOr<std::string> Read(const std::string& name) = 0;
  // Adds `bytes` at the end, and returns when they would survive a loss of power. After an error any part of
  // them may be there.
  virtual absl::Status Append(const std::string& name, std::string_view bytes) = 0;
  // Cuts the file to `size` bytes, durably.
  virtual absl::Status Truncate(const std::string& name, uint64_t size) = 0;
  // Makes `bytes` the whole file: at every moment, and after any loss, it is the old one or the new one.
  virtual absl::Status Replace(const std::string& name, std::string_view bytes) = 0;
};

// The directory `path`, which is made (mode 0700) if it is not there. FAILED_PRECONDITION when it cannot be
// used, or when another process uses it: a lock file keeps two apart.
absl::StatusOr<std::unique_ptr<LogDirectory>> OpenLogDirectory(const std::string& path);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_LOG_DIRECTORY_H_
