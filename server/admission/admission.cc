#include "server/admission/admission.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>

#include "server/admission/token_bucket.h"
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

}  // namespace

struct Ticket::Tenant {
  explicit Tenant(TenantConfig tenant)
      : config(std::move(tenant)), bucket(config.requests_per_second, config.burst) {}

  absl::Status TakeToken(TimePoint now, Duration* retry_after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (const Duration wait = bucket.Wait(now); wait > Duration{}) {
      *retry_after = wait;
      return ResourceExhausted("tenant '{}' is over its {:g} requests per second", config.name,
                               config.requests_per_second);
    }
    bucket.Take(now);
    return absl::OkStatus();
  }

  const TenantConfig config;

  Mutex mu;
  int running ABSL_GUARDED_BY(mu) = 0;
  TokenBucket bucket ABSL_GUARDED_BY(mu);
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

// Who there is, by name and by key. A digest's first bytes are as good a hash as any.
struct Admission::Tenants {
  struct First {
    size_t operator()(const Sha256::Digest& digest) const {
      size_t hash;
      std::memcpy(&hash, digest.data(), sizeof hash);
      return hash;
    }
  };
  struct Same {
    bool operator()(const Sha256::Digest& a, const Sha256::Digest& b) const {
      return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
    }
  };

  explicit Tenants(std::vector<TenantConfig> configs) {
    for (TenantConfig& config : configs) Add(std::make_shared<Ticket::Tenant>(std::move(config)));
  }
  void Add(std::shared_ptr<Ticket::Tenant> tenant) {
    for (const std::string& hex : tenant->config.key_sha256) {
      const std::optional<Sha256::Digest> digest = DigestOfHex(hex);
      HYDRAD_CHECK(digest.has_value());
      by_key.emplace(*digest, tenant.get());
    }
    const std::string& name = tenant->config.name;
    HYDRAD_CHECK(by_name.emplace(name, std::move(tenant)).second);
  }

  std::map<std::string, std::shared_ptr<Ticket::Tenant>, std::less<>> by_name;
  std::unordered_map<Sha256::Digest, const Ticket::Tenant*, First, Same> by_key;
};

Admission::Admission(std::vector<TenantConfig> tenants, const Clock& clock)
    : open_(tenants.empty()), clock_(clock), wrong_keys_(clock) {
  if (open_) tenants.push_back({.name = "default", .adapters = {"*"}});
  tenants_ = std::make_shared<const Tenants>(std::move(tenants));
}

Admission::~Admission() = default;

absl::StatusOr<std::string> Admission::Authenticate(std::string_view key, std::string_view peer,
                                                    Duration* retry_after) const {
  if (open_) return tenants_->by_name.begin()->first;
  if (!key.empty()) {
    const auto found = tenants_->by_key.find(Sha256::Of(key));
    if (found != tenants_->by_key.end()) return found->second->config.name;
  }
  RETURN_IF_ERROR(CountWrongKey(peer, retry_after));
  return key.empty() ? Unauthenticated("the request carries no key")
                     : Unauthenticated("the key is not known");
}

absl::Status Admission::CountWrongKey(std::string_view peer, Duration* retry_after) const {
  *retry_after = wrong_keys_.Count(peer);
  if (*retry_after == Duration{}) return absl::OkStatus();
  return ResourceExhausted("too many requests without a right key come from this address");
}

absl::StatusOr<Ticket> Admission::Admit(std::string_view tenant, Duration* retry_after) {
  const auto found = tenants_->by_name.find(tenant);
  if (found == tenants_->by_name.end()) return PermissionDenied("tenant '{}' is not known", tenant);
  Ticket::Tenant& entry = *found->second;
  MutexLock lock(&entry.mu);
  if (entry.config.max_concurrent > 0 && entry.running >= entry.config.max_concurrent) {
    *retry_after = kRetryWhenBusy;
    return ResourceExhausted("tenant '{}' already runs its {} concurrent requests", tenant,
                             entry.config.max_concurrent);
  }
  RETURN_IF_ERROR(entry.TakeToken(clock_.Now(), retry_after));
  ++entry.running;
  return Ticket(found->second);
}

absl::Status Admission::AdmitCall(std::string_view tenant, Duration* retry_after) {
  const auto found = tenants_->by_name.find(tenant);
  if (found == tenants_->by_name.end()) return PermissionDenied("tenant '{}' is not known", tenant);
  MutexLock lock(&found->second->mu);
  return found->second->TakeToken(clock_.Now(), retry_after);
}

bool Admission::Allowed(std::string_view tenant, std::string_view adapter) const {
  const auto found = tenants_->by_name.find(tenant);
  return found != tenants_->by_name.end() && MayUse(found->second->config, adapter);
}

std::string Sha256Hex(std::string_view text) { return Hex(Sha256::Of(text)); }

}  // namespace hydrad
