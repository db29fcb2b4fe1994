// A directory of log files in memory that fails when it is told to, and forgets what was not synced.
#ifndef HYDRAD_TESTS_FAKES_FAKE_LOG_DIRECTORY_H_
#define HYDRAD_TESTS_FAKES_FAKE_LOG_DIRECTORY_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/adapters/store/log_directory.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

// Copies share their files: the disk that a process leaves behind. Thread-safe for one user at a time.
class FakeLogDirectory final : public LogDirectory {
 public:
  struct State {
    std::map<std::string, std::string> files;
    int calls = 0;
    int fail_call = 0;      // the n-th call from the start fails, and all after it; 0: none
    size_t torn = 0;        // bytes that a failing Append leaves
    bool recovers = false;  // only that one call fails
  };

  FakeLogDirectory() : state_(std::make_shared<State>()) {}
  State& state() { return *state_; }

  absl::StatusOr<std::string> Read(const std::string& name) override {
    RETURN_IF_ERROR(Call());
    return state_->files[name];
  }
  absl::Status Append(const std::string& name, std::string_view bytes) override {
    const absl::Status status = Call();
    state_->files[name] += status.ok() ? bytes : bytes.substr(0, state_->torn);
    return status;
  }
  absl::Status Truncate(const std::string& name, uint64_t size) override {
    RETURN_IF_ERROR(Call());
    state_->files[name].resize(size);
    return absl::OkStatus();
  }
  absl::Status Replace(const std::string& name, std::string_view bytes) override {
    RETURN_IF_ERROR(Call());
    state_->files[name] = bytes;
    return absl::OkStatus();
  }

 private:
  absl::Status Call() {
    const int call = ++state_->calls;
    const bool fails =
        state_->fail_call > 0 && (state_->recovers ? call == state_->fail_call : call >= state_->fail_call);
    return fails ? Internal("the fake log directory failed call {}", call) : absl::OkStatus();
  }

  std::shared_ptr<State> state_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_LOG_DIRECTORY_H_
