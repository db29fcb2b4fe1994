// What of the store survives a restart.
#include <utility>

#include "server/adapters/store/store_impl.h"

namespace hydrad {

void AdapterStore::Impl::Restore(const JournalState& state) {
  MutexLock lock(&mu);
  for (const auto& [name, info] : state.adapters) {
    const EntryPtr entry = catalogue.Restore(info);
    std::vector<ComponentInfo> components = info.components;
    if (components.empty()) components.push_back({info.path, info.digest, info.host_bytes});
    for (ComponentInfo& known : components) {
      known.lenient = info.lenient;
      const ComponentId component = residency.AddKnown(entry, std::move(known));
      residency.Refer(component);
      residency.SetKept(component, info.pinned);
      entry->serving->components.push_back(component);
      ++entry->components;
    }
    entry->kept = info.pinned;
    if (info.pinned) kept.insert(entry);
  }
  catalogue.SkipGenerations(state.last_generation);
  answered.answered = state.answered;
  if (!kept.empty()) KickPump();
}

absl::StatusOr<bool> AdapterStore::Impl::WasAnswered(const std::string& id, const std::string& what) const {
  const AnsweredRequest* before = id.empty() ? nullptr : answered.Find(id);
  if (before == nullptr) return false;
  if (before->what == what) return true;
  return InvalidArgument("request_id: '{}' was used for another change", id);
}

std::optional<absl::StatusOr<AdapterInfo>> AdapterStore::Impl::Repeated(const ChangeOptions& change,
                                                                        const std::string& what,
                                                                        const std::string& name) const {
  MutexLock lock(&mu);
  const absl::StatusOr<bool> known = WasAnswered(change.request_id, what);
  if (!known.ok()) return known.status();
  if (!*known) return std::nullopt;
  if (absl::StatusOr<AdapterInfo> now = catalogue.Get(name); now.ok()) return now;
  AdapterInfo gone;
  gone.name = name;
  gone.state = AdapterState::kUnloaded;
  gone.generation = answered.Find(change.request_id)->generation;
  return gone;
}

absl::Status AdapterStore::Impl::Record(JournalRecord record, const std::string& request_id,
                                        AnsweredRequest request) {
  if (!request_id.empty()) record.answered = std::move(request);
  if (journal != nullptr) RETURN_IF_ERROR(journal->Append(record));
  MutexLock lock(&mu);
  if (record.answered) Apply({.answered = record.answered}, &answered);
  return absl::OkStatus();
}

void AdapterStore::Impl::Commit(const std::function<void()>& commit) {
  if (journal == nullptr || !fetches->Post(commit)) commit();
}

}  // namespace hydrad
