// A disk in memory that fails when it is told to.
#ifndef HYDRAD_TESTS_FAKES_FAKE_DISK_H_
#define HYDRAD_TESTS_FAKES_FAKE_DISK_H_

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "server/adapters/formats/disk.h"
#include "server/base/mutex.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

// Thread-safe. Copies share their content, so that a test keeps one and gives another away.
class FakeDisk final : public Disk {
 public:
  using Files = std::map<std::string, std::string>;  // by name

  void Put(const std::string& directory, Files files) {
    MutexLock lock(&state_->mu);
    state_->directories[directory] = std::move(files);
  }
  // What was there, for Put.
  Files Take(const std::string& directory) {
    MutexLock lock(&state_->mu);
    return std::move(state_->directories.extract(directory).mapped());
  }
  // The n-th call (of opening and reading) from now on fails, counted from 1; 0: none.
  void FailCall(int call) {
    MutexLock lock(&state_->mu);
    state_->calls = 0;
    state_->fail_call = call;
  }
  // Every call fails with `status`, until it is OK again.
  void Break(absl::Status status) {
    MutexLock lock(&state_->mu);
    state_->broken = std::move(status);
  }
  int calls() const {
    MutexLock lock(&state_->mu);
    return state_->calls;
  }
  // Is called within every call, without a lock: what else happens while a disk works.
  void OnCall(std::function<void()> on_call) { state_->on_call = std::move(on_call); }
  // Reads give at most so many bytes.
  void SetChunk(size_t bytes) {
    MutexLock lock(&state_->mu);
    state_->chunk = bytes;
  }
  // Files have so many bytes more or less than they had when they were opened.
  void SetDrift(int bytes) {
    MutexLock lock(&state_->mu);
    state_->drift = bytes;
  }

  absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenDirectory(const std::string& path) override {
    state_->Interrupt();
    MutexLock lock(&state_->mu);
    RETURN_IF_ERROR(state_->Call());
    const auto found = state_->directories.find(path);
    if (found == state_->directories.end()) return NotFound("no such directory under the adapter root");
    return std::make_unique<Directory>(state_, found->second);
  }

 private:
  struct State {
    void Interrupt() {
      if (on_call) on_call();
    }
    absl::Status Call() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
      if (!broken.ok()) return broken;
      if (++calls == fail_call) return Internal("the fake disk failed call {}", calls);
      return absl::OkStatus();
    }
    std::function<void()> on_call;  // set while nobody calls
    Mutex mu;
    std::map<std::string, Files> directories ABSL_GUARDED_BY(mu);
    absl::Status broken ABSL_GUARDED_BY(mu);
    int calls ABSL_GUARDED_BY(mu) = 0;
    int fail_call ABSL_GUARDED_BY(mu) = 0;
    size_t chunk ABSL_GUARDED_BY(mu) = SIZE_MAX;
    int drift ABSL_GUARDED_BY(mu) = 0;
  };

  class File final : public DiskFile {
   public:
    File(std::shared_ptr<State> state, std::string bytes)
        : state_(std::move(state)), bytes_(std::move(bytes)) {}
    uint64_t size() const override { return bytes_.size(); }
    absl::StatusOr<size_t> ReadAt(uint64_t offset, std::span<std::byte> out) override {
      state_->Interrupt();
      MutexLock lock(&state_->mu);
      RETURN_IF_ERROR(state_->Call());
      const size_t end = bytes_.size() + state_->drift;
      const size_t left = end > offset ? end - offset : 0;
      const size_t count = std::min({left, out.size(), state_->chunk});
      for (size_t i = 0; i < count; ++i) {
        out[i] = offset + i < bytes_.size() ? static_cast<std::byte>(bytes_[offset + i]) : std::byte{0};
      }
      return count;
    }

   private:
    std::shared_ptr<State> state_;
    std::string bytes_;
  };

  class Directory final : public DiskDirectory {
   public:
    Directory(std::shared_ptr<State> state, Files files)
        : state_(std::move(state)), files_(std::move(files)) {}
    bool Has(const std::string& name) override { return files_.contains(name); }
    absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name) override {
      MutexLock lock(&state_->mu);
      RETURN_IF_ERROR(state_->Call());
      const auto found = files_.find(name);
      if (found == files_.end()) return NotFound("no such file");
      return std::make_unique<File>(state_, found->second);
    }

   private:
    std::shared_ptr<State> state_;
    Files files_;
  };

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_DISK_H_
