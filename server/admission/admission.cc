#include "server/admission/admission.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>

#include "server/admission/token_bucket.h"
#include "server/base/check.h"
#include "server/base/mutex.h"
#include "server/base/sha256.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr Duration kRetryWhenBusy = std::chrono::seconds(1);
// Answers of a tenant that may be on their way beside as many as it may have running: the news that one has
// arrived comes after the client's next request.
constexpr int kSpareDeliveries = 4;

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
  // What the tenant has of its limits now. It stays when the tenant's configuration is replaced.
  struct Account {
    explicit Account(const TenantConfig& config) : bucket(config.requests_per_second, config.burst) {}
    const uint64_t number = NextAccount();
    Mutex mu;
    int running ABSL_GUARDED_BY(mu) = 0, delivering ABSL_GUARDED_BY(mu) = 0;
    TokenBucket bucket ABSL_GUARDED_BY(mu);
  };

  explicit Tenant(TenantConfig tenant)
      : config(std::move(tenant)), account(std::make_shared<Account>(config)) {}
  // Takes the place of `old`.
  Tenant(TenantConfig tenant, const Tenant& old) : config(std::move(tenant)), account(old.account) {
    const bool same =
        config.requests_per_second == old.config.requests_per_second && config.burst == old.config.burst;
    if (same) return;
    MutexLock lock(&account->mu);
    account->bucket = TokenBucket(config.requests_per_second, config.burst);
  }

  absl::Status TakeToken(TimePoint now, Duration* retry_after) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(account->mu) {
    if (const Duration wait = account->bucket.Wait(now); wait > Duration{}) {
      *retry_after = wait;
      return ResourceExhausted("tenant '{}' is over its {:g} requests per second", config.name,
                               config.requests_per_second);
    }
    account->bucket.Take(now);
    return absl::OkStatus();
  }

  static uint64_t NextAccount() {
    static std::atomic<uint64_t> last = 0;
    return ++last;
  }
  // A name of a tenant and one of a group may be the same word.
  std::string CacheGroup() const {
    return config.prefix_group.empty() ? fmt::format("tenant {}", account->number)
                                       : fmt::format("group {}", config.prefix_group);
  }

  const TenantConfig config;
  const std::shared_ptr<Account> account;
  const std::string cache_group = CacheGroup();
};

Ticket::~Ticket() {
  if (tenant_ == nullptr) return;
  Tenant::Account& account = *tenant_->account;
  MutexLock lock(&account.mu);
  --(delivers_ ? account.delivering : account.running);
}

void Ticket::Deliver() {
  if (tenant_ == nullptr || std::exchange(delivers_, true)) return;
  Tenant::Account& account = *tenant_->account;
  MutexLock lock(&account.mu);
  --account.running;
  ++account.delivering;
}

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  std::swap(tenant_, other.tenant_);
  std::swap(delivers_, other.delivers_);
  Ticket old(std::move(other));
  return *this;
}

const std::string& Ticket::tenant() const {
  static const std::string none;
  return tenant_ ? tenant_->config.name : none;
}

const std::string& Ticket::cache_group() const {
  static const std::string none;
  return tenant_ ? tenant_->cache_group : none;
}

double Ticket::weight() const { return tenant_ ? tenant_->config.weight : 1; }

// The tenants by name and by key. A digest's first bytes are as good a hash as any.
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

  // Without tenants it is open. `old` holds the tenants before, or is null.
  Tenants(std::vector<TenantConfig> configs, const Tenants* old) : open(configs.empty()) {
    if (open) configs.push_back({.name = "default", .adapters = {"*"}});
    for (TenantConfig& config : configs) {
      const Ticket::Tenant* before = old == nullptr ? nullptr : old->Find(config.name);
      Add(before == nullptr ? std::make_shared<Ticket::Tenant>(std::move(config))
                            : std::make_shared<Ticket::Tenant>(std::move(config), *before));
    }
  }
  const Ticket::Tenant* Find(std::string_view name) const {
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : found->second.get();
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

  const bool open;
  std::map<std::string, std::shared_ptr<Ticket::Tenant>, std::less<>> by_name;
  std::unordered_map<Sha256::Digest, const Ticket::Tenant*, First, Same> by_key;
};

Admission::Admission(std::vector<TenantConfig> tenants, const Clock& clock)
    : clock_(clock), wrong_keys_(clock) {
  Replace(std::move(tenants));
}

Admission::~Admission() = default;

void Admission::Replace(std::vector<TenantConfig> tenants) {
  const std::shared_ptr<const Tenants> old = this->tenants();
  auto next = std::make_shared<const Tenants>(std::move(tenants), old.get());
  MutexLock lock(&mu_);
  tenants_ = std::move(next);
}

std::shared_ptr<const Admission::Tenants> Admission::tenants() const {
  MutexLock lock(&mu_);
  return tenants_;
}

bool Admission::open() const { return tenants()->open; }

absl::StatusOr<std::string> Admission::Authenticate(std::string_view key, std::string_view peer,
                                                    Duration* retry_after) const {
  const auto now = tenants();
  if (now->open) return now->by_name.begin()->first;
  if (!key.empty()) {
    const auto found = now->by_key.find(Sha256::Of(key));
    if (found != now->by_key.end()) return found->second->config.name;
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
  const auto now = tenants();
  const auto found = now->by_name.find(tenant);
  if (found == now->by_name.end()) return PermissionDenied("tenant '{}' is not known", tenant);
  const Ticket::Tenant& entry = *found->second;
  MutexLock lock(&entry.account->mu);
  if (entry.config.max_concurrent > 0 && entry.account->running >= entry.config.max_concurrent) {
    *retry_after = kRetryWhenBusy;
    return ResourceExhausted("tenant '{}' already runs its {} concurrent requests", tenant,
                             entry.config.max_concurrent);
  }
  if (entry.config.max_concurrent > 0 &&
      entry.account->delivering >= entry.config.max_concurrent + kSpareDeliveries) {
    *retry_after = kRetryWhenBusy;
    return ResourceExhausted("tenant '{}' does not read the answers that it has", tenant);
  }
  RETURN_IF_ERROR(entry.TakeToken(clock_.Now(), retry_after));
  ++entry.account->running;
  return Ticket(found->second);
}

absl::Status Admission::AdmitCall(std::string_view tenant, Duration* retry_after) {
  const auto now = tenants();
  const auto found = now->by_name.find(tenant);
  if (found == now->by_name.end()) return PermissionDenied("tenant '{}' is not known", tenant);
  MutexLock lock(&found->second->account->mu);
  return found->second->TakeToken(clock_.Now(), retry_after);
}

std::optional<RateLeft> Admission::RateOf(std::string_view name) const {
  const auto now_tenants = tenants();
  const Ticket::Tenant* tenant = now_tenants->Find(name);
  if (tenant == nullptr || tenant->config.requests_per_second <= 0) return std::nullopt;
  const TimePoint now = clock_.Now();
  MutexLock lock(&tenant->account->mu);
  return RateLeft{.burst = tenant->config.burst,
                  .left = tenant->account->bucket.Left(now),
                  .until_full = tenant->account->bucket.UntilFull(now)};
}

bool Admission::Allowed(std::string_view tenant, std::string_view adapter) const {
  const auto now = tenants();
  const Ticket::Tenant* found = now->Find(tenant);
  return found != nullptr && MayUse(found->config, adapter);
}

std::string Sha256Hex(std::string_view text) { return Hex(Sha256::Of(text)); }

}  // namespace hydrad
