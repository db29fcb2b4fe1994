#include "server/adapters/store/records.h"

#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {

Records::Records(std::unique_ptr<Journal> journal, Executor& executor)
    : journal_(std::move(journal)), executor_(executor) {
  if (journal_ != nullptr) answered_.answered = journal_->opened().answered;
}

absl::StatusOr<std::optional<AnsweredRequest>> Records::Find(const std::string& id,
                                                             const std::string& what) const {
  if (id.empty()) return std::nullopt;
  MutexLock lock(&mu_);
  const AnsweredRequest* before = answered_.Find(id);
  if (before == nullptr) return std::nullopt;
  if (before->what == what) return *before;
  return InvalidArgument("request_id: '{}' was used for another change", id);
}

absl::Status Records::Record(JournalRecord record, const AnsweredRequest& request) {
  if (!request.id.empty()) record.answered = request;
  if (journal_ != nullptr) RETURN_IF_ERROR(journal_->Append(record));
  MutexLock lock(&mu_);
  if (record.answered) Apply({.answered = record.answered}, &answered_);
  return absl::OkStatus();
}

void Records::Run(const std::function<void()>& change) {
  if (journal_ == nullptr || !executor_.Post(change)) change();
}

std::optional<absl::StatusOr<AdapterInfo>> AnsweredBefore(const Records& records, const StoreState& state,
                                                          const std::string& id, const std::string& what,
                                                          const std::string& name) {
  const auto answered = records.Find(id, what);
  if (!answered.ok()) return answered.status();
  if (!*answered) return std::nullopt;
  MutexLock lock(&state.mu);
  if (absl::StatusOr<AdapterInfo> now = state.catalogue.Get(name); now.ok()) return now;
  AdapterInfo gone;
  gone.name = name;
  gone.state = AdapterState::kUnloaded;
  gone.generation = (*answered)->generation;
  return gone;
}

}  // namespace hydrad
