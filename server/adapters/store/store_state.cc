#include "server/adapters/store/store_state.h"

#include <memory>
#include <utility>
#include <vector>

#include "server/adapters/adapter_tokens.h"
#include "server/base/log.h"
#include "server/base/reason.h"
#include "server/base/status.h"

namespace hydrad {

absl::Status NotReady(const std::string& name, const absl::Status& why) {
  return Because(Unavailable("adapter '{}' cannot be loaded now: {}", name, std::string(why.message())),
                 "ADAPTER_NOT_READY");
}

void StoreState::Restore(const JournalState& state) {
  for (const auto& [name, info] : state.adapters) {
    const Catalogue::EntryPtr entry = catalogue.Restore(info);
    std::vector<ComponentInfo> components = info.components;
    if (components.empty()) components.push_back({info.path, info.digest, info.host_bytes});
    for (ComponentInfo& known : components) {
      known.lenient = info.lenient;
      const ComponentId component = residency.AddKnown(entry, std::move(known));
      residency.Refer(component);
      entry->serving->components.push_back(component);
      ++entry->components;
    }
    if (info.pinned) room.Keep(entry, true);
    RestoreTokens(entry);
  }
  catalogue.SkipGenerations(state.last_generation);
}

// A journal tells the tokens without their tokenizer.
void StoreState::RestoreTokens(const Catalogue::EntryPtr& entry) {
  std::shared_ptr<const AdapterTokens>& tokens = entry->info.tokens;
  if (tokens == nullptr || base_tokenizer == nullptr) return;
  auto made = WithTokenizer(*tokens, *base_tokenizer);
  if (made.ok()) {
    tokens = *std::move(made);
    return;
  }
  tokens = nullptr;
  FailServing(entry, made.status(), /*for_good=*/true);
}

void StoreState::FailServing(const Catalogue::EntryPtr& entry, const absl::Status& status, bool for_good) {
  Log()->warn("adapter '{}' cannot be brought to the device: {}", entry->name, status.ToString());
  const std::string why(status.message());
  catalogue.EndWaiting(*entry, for_good ? Because(FailedPrecondition("adapter '{}' is not there any more: {}",
                                                                     entry->name, why),
                                                  "ADAPTER_FAILED")
                                        : NotReady(entry->name, status));
  entry->backoff.Failed(clock.Now());
  const std::shared_ptr<Generation> lost = catalogue.FailServing(*entry, status, for_good);
  if (lost == nullptr) return;
  entry->ready = false;
  room.StopKeeping(entry);
  generations.Retire(*lost);
}

}  // namespace hydrad
