// Claims without a store: on an adapter that a test moves on and off the device, and on one that is always
// there.
#ifndef HYDRAD_TESTS_FAKES_FAKE_CLAIM_H_
#define HYDRAD_TESTS_FAKES_FAKE_CLAIM_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/adapters/handle.h"

namespace hydrad {

// One adapter of a store that is not there. For one thread at a time.
struct FakeStored {
  std::string name;
  uint64_t generation = 1;
  std::shared_ptr<const DeviceAdapter> device{};  // what serves, whether ready or not
  std::vector<int32_t> invocation{};              // of an aLoRA
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
  uint64_t serving() const override { return stored_.generation; }
  std::shared_ptr<const AdapterGeneration> Bind() override {
    if (!stored_.ready) return nullptr;
    ++stored_.binds;
    return std::make_shared<AdapterGeneration>(AdapterGeneration{.name = stored_.name,
                                                                 .generation = stored_.generation,
                                                                 .device = stored_.device,
                                                                 .invocation = stored_.invocation});
  }
  void Unbind() override { --stored_.binds; }

 private:
  FakeStored& stored_;
};

inline AdapterHandle FakeStored::Handle() { return AdapterHandle(std::make_unique<FakeClaim>(*this)); }

// A handle, not bound yet, on an adapter of which this generation serves and is on the device. Null: the base
// model's.
inline AdapterHandle HandleOn(std::shared_ptr<const AdapterGeneration> generation) {
  class Claim final : public AdapterClaim {
   public:
    explicit Claim(std::shared_ptr<const AdapterGeneration> serving) : serving_(std::move(serving)) {}
    const std::string& name() const override { return serving_->name; }
    const void* key() const override { return serving_.get(); }
    bool ready() const override { return true; }
    bool blocked() const override { return false; }
    bool kept() const override { return false; }
    absl::Status status() const override { return absl::OkStatus(); }
    uint64_t serving() const override { return serving_->generation; }
    std::shared_ptr<const AdapterGeneration> Bind() override { return serving_; }
    void Unbind() override {}

   private:
    const std::shared_ptr<const AdapterGeneration> serving_;
  };
  if (generation == nullptr) return AdapterHandle();
  return AdapterHandle(std::make_unique<Claim>(std::move(generation)));
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_CLAIM_H_
