#include "server/front/unread_output.h"

#include <algorithm>

#include "server/base/check.h"
#include "server/base/status.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

absl::Status Stalled(const absl::Status& status) { return WithReason(status, "READER_STALLED"); }

}  // namespace

std::shared_ptr<UnreadOutput::Account> UnreadOutput::Open(std::string_view tenant,
                                                          std::function<void(const absl::Status&)> end) {
  return std::make_shared<Account>(shared_from_this(), tenant, std::move(end));
}

absl::Status TooMuchUnread(size_t stream_bytes) {
  return Stalled(ResourceExhausted(
      "the reader did not keep up: more than {} bytes of the answer wait to be read", stream_bytes));
}

void UnreadOutput::Sweep() {
  const TimePoint now = clock_.Now();
  Victims victims;
  {
    MutexLock lock(&mu_);
    for (auto& [name, tenant] : tenants_) {
      for (Account* account : tenant.accounts) {
        if (account->ended_ || !account->sending_since_ || now - *account->sending_since_ < bounds_.stall)
          continue;
        End(*account,
            Stalled(ResourceExhausted("the reader took nothing for {:g} seconds", Seconds(bounds_.stall))),
            &victims);
      }
    }
  }
  Tell(victims);
}

size_t UnreadOutput::bytes() const {
  MutexLock lock(&mu_);
  return bytes_;
}

int64_t UnreadOutput::ended() const {
  MutexLock lock(&mu_);
  return ended_;
}

// The largest answers go first, since little waits for a reader that reads.
void UnreadOutput::MakeRoom(Tenant& tenant, const std::string& name, Victims* victims) {
  while (tenant.bytes > bounds_.tenant_bytes) {
    const auto largest =
        std::ranges::max_element(tenant.accounts, {}, [](const Account* a) { return a->bytes_; });
    if ((*largest)->bytes_ == 0) return;  // those that hold the rest have ended
    End(**largest,
        Stalled(ResourceExhausted("more than {} bytes of tenant '{}' wait to be read", bounds_.tenant_bytes,
                                  name)),
        victims);
  }
}

// The account's bytes are off the books at once, because `end_` drops them.
void UnreadOutput::End(Account& account, const absl::Status& why, Victims* victims) {
  std::shared_ptr<Account> alive = account.weak_from_this().lock();
  account.ended_ = true;
  tenants_.find(account.tenant_)->second.bytes -= account.bytes_;
  bytes_ -= std::exchange(account.bytes_, 0);
  ++ended_;
  if (alive != nullptr) victims->emplace_back(std::move(alive), why);
}

void UnreadOutput::Tell(const Victims& victims) {
  for (const auto& [account, why] : victims) account->end_(why);
}

UnreadOutput::Account::Account(std::shared_ptr<UnreadOutput> books, std::string_view tenant,
                               std::function<void(const absl::Status&)> end)
    : books_(std::move(books)), tenant_(tenant), end_(std::move(end)) {
  MutexLock lock(&books_->mu_);
  books_->tenants_[tenant_].accounts.insert(this);
}

UnreadOutput::Account::~Account() {
  MutexLock lock(&books_->mu_);
  const auto tenant = books_->tenants_.find(tenant_);
  tenant->second.bytes -= bytes_;
  books_->bytes_ -= bytes_;
  tenant->second.accounts.erase(this);
  if (tenant->second.accounts.empty()) books_->tenants_.erase(tenant);
}

bool UnreadOutput::Account::Add(size_t bytes) {
  Victims victims;
  bool taken = false;
  {
    MutexLock lock(&books_->mu_);
    if (ended_ || (bytes_ > 0 && bytes_ + bytes > books_->bounds_.stream_bytes)) return false;
    Tenant& tenant = books_->tenants_.find(tenant_)->second;
    bytes_ += bytes;
    tenant.bytes += bytes;
    books_->bytes_ += bytes;
    books_->MakeRoom(tenant, tenant_, &victims);
    taken = !ended_;
  }
  Tell(victims);
  return taken;
}

void UnreadOutput::Account::AddSent(size_t bytes) {
  MutexLock lock(&books_->mu_);
  if (ended_) return;
  bytes_ += bytes;
  books_->tenants_.find(tenant_)->second.bytes += bytes;
  books_->bytes_ += bytes;
}

void UnreadOutput::Account::Remove(size_t bytes) {
  MutexLock lock(&books_->mu_);
  if (ended_) return;
  HYDRAD_CHECK(bytes <= bytes_);
  bytes_ -= bytes;
  books_->tenants_.find(tenant_)->second.bytes -= bytes;
  books_->bytes_ -= bytes;
}

void UnreadOutput::Account::SendBegins() {
  const TimePoint now = books_->clock_.Now();
  MutexLock lock(&books_->mu_);
  sending_since_ = now;
}

void UnreadOutput::Account::SendEnds() {
  MutexLock lock(&books_->mu_);
  sending_since_.reset();
}

}  // namespace hydrad
