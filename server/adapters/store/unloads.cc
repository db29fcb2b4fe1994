#include "server/adapters/store/unloads.h"

#include <memory>
#include <utility>

#include "server/base/check.h"
#include "server/base/reason.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

absl::Status Unloaded(const AdapterEntry& entry) {
  return Because(Aborted("adapter '{}' was unloaded", entry.name), "ADAPTER_UNLOADED");
}

}  // namespace

void Unloads::Ask(const EntryPtr& entry) {
  entry->changing = true;
  const bool fresh = under_way_.try_emplace(entry).second;
  HYDRAD_CHECK(fresh);
}

std::vector<Unloads::Done> Unloads::Abandon(const EntryPtr& entry) {
  entry->changing = false;
  return std::move(under_way_.extract(entry).mapped().waiting);
}

void Unloads::Begin(const EntryPtr& entry, Done done, bool force) {
  entry->changing = false;
  room_.StopKeeping(entry);
  UnderWayUnload& unload = under_way_.at(entry);
  unload.waiting.push_back(std::move(done));
  if (catalogue_.BeginUnload(*entry)) return Over(entry);  // its load had failed
  if (force || unload.force) catalogue_.EndClaims(*entry, Unloaded(*entry));
  FinishIfUnused(entry);
}

bool Unloads::Join(const EntryPtr& entry, Done done, bool force) {
  const auto found = under_way_.find(entry);
  if (found == under_way_.end()) return false;
  found->second.waiting.push_back(std::move(done));
  found->second.force |= force;
  const bool begun = entry->info.state == AdapterState::kUnloading;  // else it is being recorded
  if (begun && force) catalogue_.EndClaims(*entry, Unloaded(*entry));
  return true;
}

void Unloads::FinishIfUnused(const EntryPtr& entry) {
  if (entry->info.state != AdapterState::kUnloading || !entry->claims.empty()) return;
  if (entry->serving != nullptr) {
    const std::shared_ptr<Generation> last = std::exchange(entry->serving, nullptr);
    entry->ready = false;
    generations_.Retire(*last);
  }
  if (entry->components > 0) return;  // the last of them asks again when its memory is back
  catalogue_.Gone(*entry);
  room_.NoteChange();
  Over(entry);
}

void Unloads::Over(const EntryPtr& entry) {
  auto unload = under_way_.extract(entry);
  for (Done& done : unload.mapped().waiting) over_.emplace_back(std::move(done), entry->info);
}

}  // namespace hydrad
