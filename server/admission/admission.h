// May this tenant start this request now? Identity, quotas, tickets.
#ifndef HYDRAD_SERVER_ADMISSION_ADMISSION_H_
#define HYDRAD_SERVER_ADMISSION_ADMISSION_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/admission/wrong_keys.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// One entry of the tenants file. Keys are held as SHA-256 hashes, never as text.
struct TenantConfig {
  std::string name;                       // as IsTenantName
  std::vector<std::string> key_sha256{};  // lower-case hex; a caller's key must hash to one of them
  std::vector<std::string>
      adapters{};  // names it may use; a trailing '*' matches any rest, '/' included; {"*"}: all; {}: none
  bool base_model = true;          // may use the base model without an adapter
  int max_concurrent = 0;          // requests at once, up to 1e6; 0: no limit
  double requests_per_second = 0;  // 0.001..1e6: a token bucket's refill; 0: no limit
  int burst = 1;                   // 1..1e6: size of the bucket
  double weight = 1;               // share under load, 0.001..1000
  // Tenants with the same group (as IsTenantName) agree to use each other's prefix cache, and so to tell by
  // the time of an answer what the others have asked; "": no other tenant's.
  std::string prefix_group{};
};

// Reads the tenants file (JSON: {"tenants": [{"name": ..., "key_sha256": [...], ...}]}; `name` and at least
// one hash are required, the rest is as above). INVALID_ARGUMENT that names the tenant and the field: unknown
// or repeated keys, names or hashes that two tenants share, wrong types, values out of range. A file with no
// tenant is an error too: it would open the server to everybody.
absl::StatusOr<std::vector<TenantConfig>> ParseTenants(std::string_view json);
// The same from a file, with the path in errors.
absl::StatusOr<std::vector<TenantConfig>> LoadTenants(const std::string& path);

// What a tenant has left of its rate.
struct RateLeft {
  int burst = 0, left = 0;  // requests
  Duration until_full{};    // when `left` will be `burst` again
};

class Admission;

// The right to run one request, from its arrival until its answer has been taken. Destruction gives its place
// back. Move-only. Any thread may use it; it may outlive the Admission that gave it.
class Ticket {
 public:
  Ticket() = default;
  Ticket(Ticket&& other) noexcept = default;
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket();
  const std::string& tenant() const;  // "" for an empty ticket
  double weight() const;              // 1 for an empty ticket
  // Who may use each other's K/V: equal for the requests of a tenant, from its coming to its going, and of
  // its prefix group. A tenant that comes back under its name is another one.
  const std::string& cache_group() const;

  // The last of the answer is on its way. Whoever gets it may ask again at once, so the place is free from
  // here on, but the tenant gets no more tickets while too many of its answers are on their way.
  void Deliver();

 private:
  friend class Admission;
  struct Tenant;
  explicit Ticket(std::shared_ptr<Tenant> tenant) : tenant_(std::move(tenant)) {}
  std::shared_ptr<Tenant> tenant_;
  bool delivers_ = false;
};

// Thread-safe. No call waits: it takes one tenant's lock for a few instructions.
class Admission {
 public:
  // Without tenants it is open: everybody is the tenant "default", which has no limits. `clock` must outlive
  // this. REQUIRES: `tenants` as ParseTenants gives them.
  Admission(std::vector<TenantConfig> tenants, const Clock& clock);
  ~Admission();

  // Replaces the tenants, as the constructor takes them. The keys of a tenant that is gone, and keys that are
  // gone, are wrong at once. Tickets that were given stay good, and count on for a tenant that stays. A
  // tenant whose limits have not changed keeps its place in its bucket.
  void Replace(std::vector<TenantConfig> tenants);

  // Returns who calls, by the key of the request ("" when none was sent); UNAUTHENTICATED for no or a wrong
  // key. It costs one hash and one look-up, however many tenants there are. When `peer` (as gRPC names it)
  // has sent too many of those (wrong_keys.h): RESOURCE_EXHAUSTED instead, and `*retry_after` is set; a right
  // key is let in all the same. The name is safe to show; it is the label in metrics and logs.
  absl::StatusOr<std::string> Authenticate(std::string_view key, std::string_view peer,
                                           Duration* retry_after) const;
  // Counts a caller whose key cannot even be read. OK, or RESOURCE_EXHAUSTED as above.
  absl::Status CountWrongKey(std::string_view peer, Duration* retry_after) const;

  // Returns a ticket for one request of `tenant` (from Authenticate). RESOURCE_EXHAUSTED over a limit, with
  // `*retry_after` set to when it is worth trying again: exactly when the bucket holds the next token, or
  // after a second when too many requests run, since nobody knows when one of them ends. A refusal costs no
  // token. PERMISSION_DENIED for an unknown tenant; so below.
  absl::StatusOr<Ticket> Admit(std::string_view tenant, Duration* retry_after);
  // Takes a token for a call that needs no place among the running requests. Errors are those of Admit.
  absl::Status AdmitCall(std::string_view tenant, Duration* retry_after);

  // Returns nothing for a tenant without a rate, or an unknown one.
  std::optional<RateLeft> RateOf(std::string_view tenant) const;

  // Whether `tenant` may use `adapter` ("": the base): a listing shows a tenant only these. False for an
  // unknown tenant.
  bool Allowed(std::string_view tenant, std::string_view adapter) const;
  bool open() const;

 private:
  struct Tenants;

  // The tenants of now. A call looks at one state of them from its begin to its end.
  std::shared_ptr<const Tenants> tenants() const;

  const Clock& clock_;
  mutable WrongKeys wrong_keys_;
  mutable Mutex mu_;
  std::shared_ptr<const Tenants> tenants_ ABSL_GUARDED_BY(mu_);
};

// Lower-case hex SHA-256 of `text`.
std::string Sha256Hex(std::string_view text);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADMISSION_ADMISSION_H_
