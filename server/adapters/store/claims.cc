#include "server/adapters/store/claims.h"

#include <algorithm>
#include <utility>

#include "server/base/status_macros.h"

namespace hydrad {

class Claims::Claim final : public AdapterClaim {
 public:
  // Registers itself. REQUIRES: the lock is held.
  Claim(Claims& claims, std::shared_ptr<void> owner, EntryPtr entry,
        std::shared_ptr<const std::vector<EntryPtr>> together)
      : owner_(std::move(owner)), claims_(claims), entry_(*entry) {
    state_.entry = std::move(entry);
    state_.together = std::move(together);
    entry_.claims.insert(&state_);
    ++entry_.waiting;
  }
  ~Claim() override { claims_.Release(state_); }

  const std::string& name() const override { return entry_.name; }
  const void* key() const override { return &entry_; }
  bool ready() const override { return entry_.ready.load(std::memory_order_relaxed); }
  bool blocked() const override { return entry_.blocked.load(std::memory_order_relaxed); }
  bool kept() const override { return entry_.kept.load(std::memory_order_relaxed); }
  absl::Status status() const override {
    if (!state_.ended.load(std::memory_order_relaxed)) return absl::OkStatus();
    MutexLock lock(&claims_.state_.mu);
    return state_.why;
  }
  uint64_t serving() const override {
    MutexLock lock(&claims_.state_.mu);
    return entry_.serving == nullptr ? 0 : entry_.serving->number;
  }
  std::shared_ptr<const ChatFormat> chat() const override {
    MutexLock lock(&claims_.state_.mu);
    return entry_.info.chat;
  }
  std::shared_ptr<const AdapterTokens> tokens() const override {
    MutexLock lock(&claims_.state_.mu);
    return entry_.info.tokens;
  }
  std::shared_ptr<const AdapterGeneration> Bind() override { return claims_.Bind(state_); }
  void Unbind() override { claims_.Unbind(state_); }

 private:
  const std::shared_ptr<void> owner_;
  Claims& claims_;
  AdapterEntry& entry_;  // of state_; of it, only the name and the atomics are read without the lock
  ClaimState state_;     // guarded by the store's lock, but for `ended`
};

absl::StatusOr<std::vector<AdapterHandle>> Claims::Acquire(const std::vector<std::string>& names,
                                                           std::shared_ptr<void> owner) {
  MutexLock lock(&state_.mu);
  std::vector<EntryPtr> entries;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(EntryPtr entry, state_.catalogue.Serving(name));
    if (!entry->ready && entry->backoff.Left(state_.clock.Now()) > Duration{}) {
      return NotReady(name, entry->info.error);
    }
    entries.push_back(std::move(entry));
  }
  if (state_.room.Recheck()) fetcher_.Schedule();  // tells those whose claims that has ended
  RETURN_IF_ERROR(state_.room.CheckFits(entries));
  const auto together = std::make_shared<const std::vector<EntryPtr>>(std::move(entries));
  const bool ready = std::ranges::all_of(*together, [](const EntryPtr& e) { return e->ready.load(); });
  std::vector<AdapterHandle> handles;
  for (const EntryPtr& entry : *together) {
    handles.emplace_back(std::make_unique<Claim>(*this, owner, entry, together));
    // What is there already must not make room for the rest.
    if (!ready) state_.fetch_queue.Acquired(entry->name);
  }
  if (!ready) fetcher_.Schedule();
  return handles;
}

std::shared_ptr<const AdapterGeneration> Claims::Bind(ClaimState& claim) {
  MutexLock lock(&state_.mu);
  AdapterEntry& entry = *claim.entry;
  if (claim.ended || claim.bound != nullptr || !entry.ready) return nullptr;
  claim.bound = entry.serving;
  --entry.waiting;
  return state_.generations.Hold(entry.name, *claim.bound);
}

void Claims::Unbind(ClaimState& claim) {
  MutexLock lock(&state_.mu);
  state_.generations.Release(*std::exchange(claim.bound, nullptr));
  if (!claim.ended) ++claim.entry->waiting;
  fetcher_.Schedule();
}

void Claims::Release(ClaimState& claim) {
  MutexLock lock(&state_.mu);
  claim.entry->claims.erase(&claim);
  if (claim.bound != nullptr) {
    state_.generations.Release(*std::exchange(claim.bound, nullptr));
  } else if (!claim.ended) {
    --claim.entry->waiting;
  }
  state_.unloads.FinishIfUnused(claim.entry);
  fetcher_.Schedule();
}

}  // namespace hydrad
