// Why a call goes no further, and what a stage of the intake returns.
#ifndef HYDRAD_SERVER_FRONT_REFUSAL_H_
#define HYDRAD_SERVER_FRONT_REFUSAL_H_

#include <absl/status/status.h>

#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "server/front/audit.h"
#include "server/metrics/metrics.h"

namespace hydrad {

// A stage makes a refusal where the reason is known; Record is called with it once.
struct Refusal {
  absl::Status status;      // with its reason and details (error_details.h)
  std::string_view metric;  // its label in hydrad_rejected_total, a literal
  // Whether somebody was turned away (key, permission, limit), so that the audit log tells whom, and from
  // which adapter.
  bool audited = false;
  std::string actor{}, adapter{};
};

// Counts the refusal, writes it to the audit log if it is audited, and returns its status. `peer` is the
// caller's.
absl::Status Record(Refusal refusal, std::string_view peer, Metrics& metrics, AuditLog& audit);

// The value that a stage gives the next one, or why there is none.
template <class T>
class [[nodiscard]] OrRefusal {
 public:
  OrRefusal(T value) : value_(std::move(value)) {}
  OrRefusal(Refusal refusal) : value_(std::move(refusal)) {}

  bool ok() const { return value_.index() == 0; }
  // REQUIRES: ok().
  T& operator*() { return std::get<0>(value_); }
  // REQUIRES: !ok().
  Refusal& refusal() { return std::get<1>(value_); }

 private:
  std::variant<T, Refusal> value_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_REFUSAL_H_
