// A store over fakes, and waiting for what it calls back.
#ifndef HYDRAD_TESTS_ADAPTERS_STORE_STORE_FIXTURE_H_
#define HYDRAD_TESTS_ADAPTERS_STORE_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/adapters/formats/read_adapter.h"
#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/journal.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_backend.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_disk.h"
#include "tests/fakes/fake_log_directory.h"

namespace hydrad {

// One call of the store whose answer comes later.
class Pending {
 public:
  AdapterStore::Done done() {
    return [promise = promise_](const absl::StatusOr<AdapterInfo>& info) { promise->set_value(info); };
  }
  bool ready() const { return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
  absl::StatusOr<AdapterInfo> Wait() { return future_.get(); }

 private:
  std::shared_ptr<std::promise<absl::StatusOr<AdapterInfo>>> promise_ =
      std::make_shared<std::promise<absl::StatusOr<AdapterInfo>>>();
  std::shared_future<absl::StatusOr<AdapterInfo>> future_ = promise_->get_future().share();
};

// Whether `condition` comes true: other threads make it so.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

// The fake disk holds "one" and "two" (plain LoRAs that differ), "hydra", and "bad", where one lora_B is
// missing.
class StoreFixture : public ::testing::Test {
 protected:
  StoreFixture() {
    disk_.Put("one", PlainLora(1).Bytes());
    disk_.Put("two", PlainLora(2).Bytes());
    disk_.Put("hydra", Hydra().Bytes());
    AdapterFiles bad = PlainLora();
    bad.tensors.erase(kPrefix + std::string("0.mlp.down_proj.lora_B.weight"));
    disk_.Put("bad", bad.Bytes());
    const AdapterContents one = *ReadAdapter(disk_, "one", TinyModel().adapter_shape(), 1 << 20);
    bytes_ = backend_.AdapterBytes(one.weights, TinyModel().adapter_shape());
    host_bytes_ = one.host_bytes;
  }

  std::unique_ptr<AdapterStore> MakeStore(AdapterStoreOptions options = {}) {
    return std::make_unique<AdapterStore>(options, std::make_unique<FakeDisk>(disk_), backend_, TinyModel(),
                                          clock_);
  }
  // As MakeStore, with a journal in `log`: what a daemon does at each of its starts.
  std::unique_ptr<AdapterStore> OpenStore(const FakeLogDirectory& log, AdapterStoreOptions options = {}) {
    AdapterStore::Parts parts;
    parts.disk = std::make_unique<FakeDisk>(disk_);
    parts.journal = *Journal::Open(std::make_unique<FakeLogDirectory>(log));
    return std::make_unique<AdapterStore>(options, backend_, TinyModel(), clock_, std::move(parts));
  }
  static absl::StatusOr<AdapterInfo> Load(AdapterStore& store, const std::string& name,
                                          const std::string& path, ChangeOptions options = {}) {
    Pending pending;
    store.Load(name, path, pending.done(), std::move(options));
    return pending.Wait();
  }
  static absl::StatusOr<AdapterInfo> Unload(AdapterStore& store, const std::string& name,
                                            ChangeOptions options = {}) {
    Pending pending;
    store.Unload(name, pending.done(), std::move(options));
    return pending.Wait();
  }
  // A handle that has been waited for.
  static AdapterHandle Bound(AdapterStore& store, const std::string& name) {
    absl::StatusOr<AdapterHandle> handle = store.Acquire(name);
    if (!handle.ok()) {
      ADD_FAILURE() << handle.status();
      return {};
    }
    EXPECT_TRUE(Eventually([&] { return !handle->status().ok() || handle->Bind(); }));
    EXPECT_TRUE(handle->status().ok()) << handle->status();
    return *std::move(handle);
  }
  // What a request hears whose adapter cannot be brought.
  static absl::Status Refused(AdapterStore& store, const std::string& name) {
    const absl::StatusOr<AdapterHandle> handle = store.Acquire(name);
    if (!handle.ok()) return handle.status();
    EXPECT_TRUE(Eventually([&] { return !handle->status().ok(); }));
    return handle->status();
  }
  // Memory goes back on the store's threads.
  void ExpectBytes(const AdapterStore& store, uint64_t bytes) {
    EXPECT_TRUE(Eventually([&] { return store.device_bytes_used() == bytes; })) << store.device_bytes_used();
    EXPECT_EQ(backend_.live_bytes(), bytes);
  }

  FakeDisk disk_;
  FakeBackend backend_;
  FakeClock clock_;
  size_t bytes_ = 0, host_bytes_ = 0;  // of "one" on the device and in host memory
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_ADAPTERS_STORE_STORE_FIXTURE_H_
