// A request's hold on one adapter.
#ifndef HYDRAD_SERVER_ADAPTERS_HANDLE_H_
#define HYDRAD_SERVER_ADAPTERS_HANDLE_H_

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/adapters/mixture.h"
#include "server/backend/adapter_weights.h"  // AdapterTraits
#include "server/base/check.h"

namespace hydrad {

struct AdapterTokens;
class ChatFormat;

// One generation on the device, as those who run it see it.
struct AdapterGeneration {
  std::string name;
  uint64_t generation = 0;
  std::shared_ptr<const DeviceAdapter> device{};  // null where there is a mixture
  AdapterTraits traits{};                         // of `device`
  std::shared_ptr<const Mixture> mixture{};       // of an adapter that picks one of its experts per sequence
  std::vector<int32_t> invocation{};              // of an aLoRA, see TokenFields
};

// The store's side of a handle: a request wants an adapter and, once bound, runs on one generation of it. The
// destructor, on any thread, gives that up. The answers before status() cost an atomic read each.
class AdapterClaim {
 public:
  virtual ~AdapterClaim() = default;
  virtual const std::string& name() const = 0;
  // The same for all claims on a name, from its first load to its unload.
  virtual const void* key() const = 0;
  // What serves is on the device now, and may be bound.
  virtual bool ready() const = 0;
  // What serves is not on the device, and only what is held there or kept is in its way.
  virtual bool blocked() const = 0;
  // An operator has pinned the adapter, and the device has room for that.
  virtual bool kept() const = 0;
  // OK, or why the request must end.
  virtual absl::Status status() const = 0;
  // The generation that Bind would fix now, if it is ready; 0 where nothing serves.
  virtual uint64_t serving() const { return 0; }
  // How conversations with what serves now are written; null: as the base model says.
  virtual std::shared_ptr<const ChatFormat> chat() const { return nullptr; }
  // The tokens that what serves now brings; null: its requests know the base's only.
  virtual std::shared_ptr<const AdapterTokens> tokens() const { return nullptr; }
  // Fixes the generation that serves now and holds it on the device; null when it is not there (any more).
  virtual std::shared_ptr<const AdapterGeneration> Bind() = 0;
  // Undoes Bind.
  virtual void Unbind() = 0;
};

// A request has a handle from its arrival to its end. The adapter need not be on the device: the store
// fetches it, and the request waits until then, holding nothing else. Bind() then fixes the generation, which
// stays on the device until the handle goes. Unloading waits for the last handle, so keep it for one request
// and no longer. Move-only; may be destroyed on any thread; the rest is for one thread at a time.
class AdapterHandle {
 public:
  AdapterHandle() = default;  // no adapter: the base model
  explicit AdapterHandle(std::unique_ptr<AdapterClaim> claim) : claim_(std::move(claim)) {}
  AdapterHandle(AdapterHandle&&) noexcept = default;
  AdapterHandle& operator=(AdapterHandle&& other) noexcept {
    std::swap(claim_, other.claim_);
    std::swap(held_, other.held_);
    return *this;
  }

  explicit operator bool() const { return claim_ != nullptr; }
  const std::string& name() const {
    static const std::string base;
    return claim_ != nullptr ? claim_->name() : base;
  }

  // For a handle that is not bound yet.
  bool bound() const { return claim_ == nullptr || held_ != nullptr; }  // nothing to bind: the base model
  bool ready() const { return bound() || claim_->ready(); }             // Bind is worth trying
  bool blocked() const { return !bound() && claim_->blocked(); }
  // The generation that it would be bound to now, for those who can bear that it is another one later.
  uint64_t serving() const { return claim_ != nullptr ? claim_->serving() : 0; }
  // Binds it, if it is not bound. False: the adapter is not on the device.
  bool Bind() {
    if (!bound()) held_ = claim_->Bind();
    return bound();
  }
  // Undoes Bind before anything has run: another adapter of the same request is not on the device.
  void Unbind() {
    if (held_ == nullptr) return;
    held_.reset();
    claim_->Unbind();
  }

  // At any time: OK, or why the request must end (its adapter cannot be loaded, or was unloaded by force).
  absl::Status status() const { return claim_ != nullptr ? claim_->status() : absl::OkStatus(); }
  bool kept() const { return claim_ != nullptr && claim_->kept(); }
  std::shared_ptr<const ChatFormat> chat() const { return claim_ != nullptr ? claim_->chat() : nullptr; }
  std::shared_ptr<const AdapterTokens> tokens() const {
    return claim_ != nullptr ? claim_->tokens() : nullptr;
  }
  // Tells adapters apart; null for the base model.
  const void* key() const { return claim_ != nullptr ? claim_->key() : nullptr; }

  // REQUIRES, from here on: bound. Nobody knows before which generation will serve, and what was read of one
  // does not hold for the next. One of the first two is not null, unless this is the base model.
  const DeviceAdapter* device() const { return held() != nullptr ? held_->device.get() : nullptr; }
  const Mixture* mixture() const { return held() != nullptr ? held_->mixture.get() : nullptr; }
  // Tells the weights of generations apart.
  const void* weights() const {
    return mixture() != nullptr ? static_cast<const void*>(mixture()) : static_cast<const void*>(device());
  }
  uint64_t generation() const { return held() != nullptr ? held_->generation : 0; }  // 0: the base model
  AdapterTraits traits() const { return held() != nullptr ? held_->traits : AdapterTraits{}; }
  // The adapter counts from the last occurrence of these tokens in the prompt; empty: it counts everywhere.
  std::span<const int32_t> invocation() const {
    return held() != nullptr ? std::span<const int32_t>(held_->invocation) : std::span<const int32_t>();
  }

 private:
  const AdapterGeneration* held() const {
    HYDRAD_CHECK(bound());
    return held_.get();
  }

  std::unique_ptr<AdapterClaim> claim_;
  std::shared_ptr<const AdapterGeneration> held_;  // last: it goes before the claim that holds it there
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_HANDLE_H_
