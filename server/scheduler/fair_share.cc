#include "server/scheduler/fair_share.h"

#include <algorithm>
#include <limits>

#include "server/base/check.h"

namespace hydrad {

TenantId FairShare::Enter(std::string_view name, double weight) {
  auto found = ids_.find(name);
  if (found == ids_.end()) {
    found = ids_.emplace(std::string(name), static_cast<TenantId>(views_.size())).first;
    views_.emplace_back();
    requests_.push_back(0);
  }
  const TenantId tenant = found->second;
  views_[tenant].weight = weight > 0 ? weight : 1;
  if (requests_[tenant] == 0) Lift(tenant);
  ++requests_[tenant];
  return tenant;
}

void FairShare::Lift(TenantId tenant) {
  double least = std::numeric_limits<double>::infinity();
  for (size_t t = 0; t < views_.size(); ++t) {
    if (requests_[t] > 0) least = std::min(least, views_[t].service);
  }
  if (least == std::numeric_limits<double>::infinity()) least = floor_;
  views_[tenant].service = std::max(views_[tenant].service, least);
}

void FairShare::Leave(TenantId tenant) {
  HYDRAD_CHECK(requests_[tenant] > 0);
  if (--requests_[tenant] == 0) floor_ = views_[tenant].service;
}

void FairShare::Charge(TenantId tenant, int input_tokens, int output_tokens) {
  TenantView& view = views_[tenant];
  view.service += Cost(input_tokens, output_tokens, view.weight);
}

}  // namespace hydrad
