// Who has been served how much: virtual token counters (Sheng et al., "Fairness in Serving Large Language
// Models", OSDI 2024, arXiv 2401.00588).
//
// A tenant's service is (input tokens + 2 * output tokens) / weight; a prompt that runs twice, once on the
// base model for its adapter's routers and once adapted, counts twice, for it takes the rows twice. Serving
// the active tenant with the least service first is work-conserving, and two tenants that both always have
// work waiting never drift apart by more than about the cost of what one may hold in the batch. A tenant that
// returns from idle is lifted to the least service among the active ones, so that idling saves nothing up.
#ifndef HYDRAD_SERVER_SCHEDULER_FAIR_SHARE_H_
#define HYDRAD_SERVER_SCHEDULER_FAIR_SHARE_H_

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hydrad {

using TenantId = int;  // index of a tenant in FairShare::tenants()

// One tenant as the policy sees it.
struct TenantView {
  double service = 0;  // weighted tokens served so far
  double weight = 1;   // share under load, > 0
};

// Owned by the scheduler thread. Grows by one entry for each tenant name ever seen, and those come from the
// operator's tenants file.
class FairShare {
 public:
  static constexpr double kInputCost = 1, kOutputCost = 2;

  // Counts a request of `name` that arrives, and returns the tenant; a weight that is not positive counts
  // as 1. Each Enter is paired with a Leave.
  TenantId Enter(std::string_view name, double weight);
  // Counts it no more: it has ended.
  void Leave(TenantId tenant);
  // Returns what these tokens add to the service of a tenant of that weight.
  static double Cost(int input_tokens, int output_tokens, double weight) {
    return (kInputCost * input_tokens + kOutputCost * output_tokens) / weight;
  }
  // Adds this many tokens to what the tenant was served.
  void Charge(TenantId tenant, int input_tokens, int output_tokens);

  std::span<const TenantView> tenants() const { return views_; }

 private:
  void Lift(TenantId tenant);

  std::map<std::string, TenantId, std::less<>> ids_;
  std::vector<TenantView> views_;  // [tenants]
  std::vector<int> requests_;      // [tenants] requests in the system; active when > 0
  double floor_ = 0;               // service of the last tenant to go idle
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_FAIR_SHARE_H_
