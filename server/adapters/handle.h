// A request's hold on one generation of one adapter.
#ifndef HYDRAD_SERVER_ADAPTERS_HANDLE_H_
#define HYDRAD_SERVER_ADAPTERS_HANDLE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/adapters/mixture.h"
#include "server/backend/backend.h"

namespace hydrad {

// One loaded generation: what a handle keeps alive. Its destruction gives the device memory and the reserved
// bytes back (the store's deleter does the accounting).
struct AdapterGeneration {
  std::string name;
  uint64_t generation = 0;
  std::unique_ptr<DeviceAdapter> device;     // null where there is a mixture
  AdapterTraits traits{};                    // of `device`
  std::shared_ptr<const Mixture> mixture{};  // of an adapter that picks one of its experts per sequence
  std::vector<int32_t> invocation{};         // of an aLoRA, see TokenFields
};

// Keeps one generation of one adapter on the device for as long as the handle lives. Unloading waits for the
// last handle, so hold it for one request and no longer. Move-only; may be destroyed on any thread.
class AdapterHandle {
 public:
  AdapterHandle() = default;  // no adapter: the base model
  explicit AdapterHandle(std::shared_ptr<const AdapterGeneration> pin) : pin_(std::move(pin)) {}
  AdapterHandle(AdapterHandle&&) noexcept = default;
  AdapterHandle& operator=(AdapterHandle&&) noexcept = default;

  explicit operator bool() const { return pin_ != nullptr; }
  // One of the two, unless this is the base model.
  const DeviceAdapter* device() const { return pin_ ? pin_->device.get() : nullptr; }
  const Mixture* mixture() const { return pin_ ? pin_->mixture.get() : nullptr; }
  // Tells generations apart.
  const void* weights() const {
    return mixture() != nullptr ? static_cast<const void*>(mixture()) : static_cast<const void*>(device());
  }
  uint64_t generation() const { return pin_ ? pin_->generation : 0; }  // 0: the base model
  AdapterTraits traits() const { return pin_ ? pin_->traits : AdapterTraits{}; }
  // The tokens of the prompt from whose last occurrence on the adapter counts; empty: it counts everywhere.
  std::span<const int32_t> invocation() const {
    return pin_ ? std::span<const int32_t>(pin_->invocation) : std::span<const int32_t>();
  }
  const std::string& name() const {
    static const std::string base;
    return pin_ ? pin_->name : base;
  }

 private:
  std::shared_ptr<const AdapterGeneration> pin_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_HANDLE_H_
