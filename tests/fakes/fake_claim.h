// A claim on an adapter that a test moves on and off the device.
#ifndef HYDRAD_TESTS_FAKES_FAKE_CLAIM_H_
#define HYDRAD_TESTS_FAKES_FAKE_CLAIM_H_

#include <memory>
#include <string>
#include <utility>

#include "server/adapters/handle.h"

namespace hydrad {

// One adapter of a store that is not there. For one thread at a time.
struct FakeStored {
  std::string name;
  uint64_t generation = 1;
  std::shared_ptr<const DeviceAdapter> device{};  // what serves, whether ready or not
  bool ready = false, blocked = false, kept = false;
  absl::Status status{};
  int binds = 0;  // that worked

  AdapterHandle Handle();
};

class FakeClaim final : public AdapterClaim {
 public:
  explicit FakeClaim(FakeStored& stored) : stored_(stored) {}
  const std::string& name() const override { return stored_.name; }
  const void* key() const override { return &stored_; }
  bool ready() const override { return stored_.ready; }
  bool blocked() const override { return stored_.blocked; }
  bool kept() const override { return stored_.kept; }
  absl::Status status() const override { return stored_.status; }
  std::shared_ptr<const AdapterGeneration> Bind() override {
    if (!stored_.ready) return nullptr;
    ++stored_.binds;
    return std::make_shared<AdapterGeneration>(
        AdapterGeneration{stored_.name, stored_.generation, stored_.device});
  }

  void Unbind() override { --stored_.binds; }

 private:
  FakeStored& stored_;
};

inline AdapterHandle FakeStored::Handle() { return AdapterHandle(std::make_unique<FakeClaim>(*this)); }

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_CLAIM_H_
