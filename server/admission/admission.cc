#include "server/admission/admission.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>

#include "server/base/mutex.h"
#include "server/base/sha256.h"

namespace hydrad {
namespace {

constexpr Duration kRetryWhenBusy = std::chrono::seconds(1);

bool Matches(std::string_view pattern, std::string_view name) {
  if (!pattern.ends_with('*')) return pattern == name;
  return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

bool MayUse(const TenantConfig& tenant, std::string_view adapter) {
  if (adapter.empty()) return tenant.base_model;
  return std::ranges::any_of(tenant.adapters, [&](const auto& pattern) { return Matches(pattern, adapter); });
}

bool SameHash(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// A token bucket kept as one time: when it would be full again. A token is one interval of it, so that
// nothing is lost to rounding and the time until the next token is a subtraction.
class Bucket {
 public:
  explicit Bucket(const TenantConfig& config)
      : limited_(config.requests_per_second > 0),
        interval_(limited_ ? static_cast<int64_t>(1e9 / config.requests_per_second) : 0),
        size_(interval_ * config.burst) {}

  // How long until a token is there; zero: now.
  Duration Wait(TimePoint now) const {
    if (!limited_) return {};
    return std::max(Duration{}, std::max(full_, now) + interval_ - size_ - now);
  }
  // REQUIRES: Wait(now) is zero.
  void Take(TimePoint now) { full_ = std::max(full_, now) + interval_; }

 private:
  bool limited_;
  Duration interval_, size_;
  TimePoint full_{};
};

}  // namespace

struct Ticket::Tenant {
  explicit Tenant(TenantConfig tenant) : config(std::move(tenant)), bucket(config) {}

  const TenantConfig config;

  Mutex mu;
  int running ABSL_GUARDED_BY(mu) = 0;
  Bucket bucket ABSL_GUARDED_BY(mu);
};

Ticket::~Ticket() {
  if (tenant_ == nullptr) return;
  MutexLock lock(&tenant_->mu);
  --tenant_->running;
}

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  std::swap(tenant_, other.tenant_);
  Ticket old(std::move(other));
  return *this;
}

const std::string& Ticket::tenant() const {
  static const std::string none;
  return tenant_ ? tenant_->config.name : none;
}

double Ticket::weight() const { return tenant_ ? tenant_->config.weight : 1; }

Admission::Admission(std::vector<TenantConfig> tenants, const Clock& clock)
    : open_(tenants.empty()), clock_(clock) {
  if (open_) tenants.push_back({.name = "default", .adapters = {"*"}});
  for (TenantConfig& config : tenants) {
    const std::string name = config.name;
    HYDRAD_CHECK(tenants_.emplace(name, std::make_shared<Ticket::Tenant>(std::move(config))).second);
  }
}

Admission::~Admission() = default;

absl::StatusOr<std::string> Admission::Authenticate(std::string_view key) const {
  if (open_) return tenants_.begin()->first;
  if (key.empty()) return Unauthenticated("the request carries no key");
  const std::string hash = Sha256Hex(key);
  const std::string* found = nullptr;
  for (const auto& [name, tenant] : tenants_) {
    for (const std::string& known : tenant->config.key_sha256) {
      if (SameHash(known, hash)) found = &name;  // and goes on: the time does not tell which one it was
    }
  }
  if (found == nullptr) return Unauthenticated("the key is not known");
  return *found;
}

absl::StatusOr<Ticket> Admission::Admit(std::string_view tenant, std::string_view adapter,
                                        Duration* retry_after) {
  const auto found = tenants_.find(tenant);
  if (found == tenants_.end()) return PermissionDenied("tenant '{}' is not known", tenant);
  Ticket::Tenant& entry = *found->second;
  if (!MayUse(entry.config, adapter)) {
    if (adapter.empty()) return PermissionDenied("tenant '{}' may not use the base model", tenant);
    return PermissionDenied("tenant '{}' may not use adapter '{}'", tenant, adapter);
  }

  const TimePoint now = clock_.Now();
  MutexLock lock(&entry.mu);
  if (entry.config.max_concurrent > 0 && entry.running >= entry.config.max_concurrent) {
    *retry_after = kRetryWhenBusy;
    return ResourceExhausted("tenant '{}' already runs its {} concurrent requests", tenant,
                             entry.config.max_concurrent);
  }
  if (const Duration wait = entry.bucket.Wait(now); wait > Duration{}) {
    *retry_after = wait;
    return ResourceExhausted("tenant '{}' is over its {:g} requests per second", tenant,
                             entry.config.requests_per_second);
  }
  entry.bucket.Take(now);
  ++entry.running;
  return Ticket(found->second);
}

bool Admission::Allowed(std::string_view tenant, std::string_view adapter) const {
  const auto found = tenants_.find(tenant);
  return found != tenants_.end() && MayUse(found->second->config, adapter);
}

std::string Sha256Hex(std::string_view text) { return Hex(Sha256::Of(text)); }

}  // namespace hydrad
