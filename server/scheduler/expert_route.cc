#include "server/scheduler/expert_route.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/scheduler/request.h"

namespace hydrad {
namespace {

// The expert's number, or an error that names those that there are.
absl::StatusOr<int> FindExpert(const Mixture& mixture, const std::string& name) {
  const int expert = mixture.Find(name);
  if (expert >= 0) return expert;
  if (name.empty())
    return InvalidArgument("expert: must be given; it is one of {}", fmt::join(mixture.names(), ", "));
  return InvalidArgument("expert: '{}' is not one of {}", name, fmt::join(mixture.names(), ", "));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExpertRoute>> MakeRoute(const Request& request, int unsplit_rows) {
  const Mixture* mixture = request.adapter.mixture();
  if (mixture == nullptr) {
    if (request.expert.empty() && !request.decision) return nullptr;
    return InvalidArgument("{}: adapter '{}' does not hold experts to choose from",
                           request.expert.empty() ? "decision" : "expert", request.adapter.name());
  }
  const Decision decision =
      request.expert.empty() ? request.decision.value_or(mixture->decision()) : Decision::kLabel;
  const int prompt = static_cast<int>(request.prompt.size());
  int expert = 0;
  if (decision == Decision::kLabel) {
    ASSIGN_OR_RETURN(expert, FindExpert(*mixture, request.expert));
  } else if (mixture->router().choices() == 0) {
    return InvalidArgument("decision: must be 'label', for adapter '{}' has no routers on this device",
                           request.adapter.name());
  }
  if (decision == Decision::kLayer && prompt > unsplit_rows) {
    return InvalidArgument(
        "decision: 'layer' needs the prompt in one step; it has {} tokens, and the server's steps have room "
        "for {} "
        "(--unsplit-prompt). 'vote' and 'last' take any prompt",
        prompt, unsplit_rows);
  }
  return std::make_unique<ExpertRoute>(*mixture, decision, expert, prompt);
}

ExpertRoute::ExpertRoute(const Mixture& mixture, Decision decision, int expert, int prompt)
    : mixture_(mixture),
      router_(mixture.router()),
      decision_(decision),
      prompt_(prompt),
      decided_(decision == Decision::kLabel),
      expert_(decided_ ? expert : -1) {
  if (decided_) return;
  HYDRAD_CHECK(router_.choices() > 0);
  sums_.resize(static_cast<size_t>(router_.layers) * router_.choices());
}

const DeviceAdapter* ExpertRoute::adapter() const {
  if (picks_by_layer()) return mixture_.experts().front()->adapter.get();
  return expert_ < 0 ? nullptr : mixture_.experts()[static_cast<size_t>(expert_)]->adapter.get();
}

int ExpertRoute::order() const {
  return picks_by_layer() ? static_cast<int>(mixture_.experts().size()) : expert_;
}

bool ExpertRoute::AddProbe(int first, int rows, int row, Batch* batch) const {
  const bool last = mixture_.pool() == RouterPool::kLast;
  const int begin = last ? std::max(first, prompt_ - 1) : first;
  const int end = std::min(first + rows, prompt_);
  if (decided_ || begin >= end) return false;
  batch->probes.push_back({.row_begin = row + begin - first,
                           .row_end = row + end - first,
                           .router = mixture_.router_slot(),
                           .sums_begin = static_cast<int32_t>(batch->probe_sums.size()),
                           .pooled = last ? 1 : prompt_,
                           .decides = picks_by_layer()});
  batch->probe_sums.insert(batch->probe_sums.end(), sums_.begin(), sums_.end());
  return true;
}

void ExpertRoute::Saw(const Routed& routed) {
  HYDRAD_CHECK(!decided_ && routed.sums.size() == sums_.size());
  sums_.assign(routed.sums.begin(), routed.sums.end());
  by_layer_.clear();
  for (const int32_t pick : routed.picks) {
    by_layer_.push_back(router_.experts[static_cast<size_t>(pick)]->slot());
  }
}

void ExpertRoute::Restart() {
  HYDRAD_CHECK(!decided_);
  std::ranges::fill(sums_, 0);
}

void ExpertRoute::Decide() {
  HYDRAD_CHECK(!decided_ && picks_by_layer() == !by_layer_.empty());
  const int pooled = mixture_.pool() == RouterPool::kLast ? 1 : prompt_;
  for (int layer = 0; layer < router_.layers; ++layer) {
    const double* sums = sums_.data() + static_cast<size_t>(layer) * router_.choices();
    votes_.push_back(mixture_.expert_of(router_.Pick(layer, sums, pooled)));
  }
  if (decision_ == Decision::kLast) expert_ = votes_.back();
  if (decision_ == Decision::kVote) expert_ = Majority(votes_, static_cast<int>(mixture_.experts().size()));
  decided_ = true;
}

std::vector<int> ExpertRoute::experts() const {
  if (!decided_) return {};
  return picks_by_layer() ? votes_ : std::vector<int>{expert_};
}

RouteTaken ExpertRoute::taken() const {
  HYDRAD_CHECK(decided_);
  const auto name = [&](int expert) { return mixture_.experts()[static_cast<size_t>(expert)]->name; };
  RouteTaken taken{.decision = decision_, .expert = expert_ < 0 ? "" : name(expert_), .votes = {}};
  for (const int vote : votes_) taken.votes.push_back(name(vote));
  return taken;
}

std::vector<double> ExpertRoute::shares() const {
  HYDRAD_CHECK(decided_);
  std::vector<double> shares(mixture_.experts().size());
  if (expert_ >= 0) {
    shares[static_cast<size_t>(expert_)] = 1;
    return shares;
  }
  for (const int vote : votes_) shares[static_cast<size_t>(vote)] += 1.0 / router_.layers;
  return shares;
}

std::optional<double> ExpertRoute::vote_entropy() const {
  if (votes_.empty()) return std::nullopt;
  if (router_.choices() == 1) return 0;
  std::vector<double> counts(mixture_.experts().size());
  for (const int vote : votes_) ++counts[static_cast<size_t>(vote)];
  double entropy = 0;
  for (const double count : counts) {
    const double share = count / static_cast<double>(votes_.size());
    if (share > 0) entropy -= share * std::log(share);
  }
  return entropy / std::log(router_.choices());
}

int Majority(const std::vector<int>& votes, int experts) {
  std::vector<int> counts(static_cast<size_t>(experts));
  for (const int vote : votes) ++counts[static_cast<size_t>(vote)];
  return static_cast<int>(std::ranges::max_element(counts) - counts.begin());  // the first of equals
}

}  // namespace hydrad
