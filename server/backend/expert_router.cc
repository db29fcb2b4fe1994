#include "server/backend/expert_router.h"

#include <limits>

namespace hydrad {

const char* Name(Decision decision) {
  switch (decision) {
    case Decision::kLabel:
      return "label";
    case Decision::kLast:
      return "last";
    case Decision::kVote:
      return "vote";
    case Decision::kLayer:
      return "layer";
  }
  return "unknown";
}

std::optional<Decision> ParseDecision(std::string_view name) {
  for (const Decision decision : {Decision::kLabel, Decision::kLast, Decision::kVote, Decision::kLayer}) {
    if (name == Name(decision)) return decision;
  }
  return std::nullopt;
}

int Router::Pick(int layer, const double* sums, int pooled) const {
  int best = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (int c = 0; c < choices(); ++c) {
    const double logit = sums[c] / pooled + bias[static_cast<size_t>(layer) * choices() + c];
    if (logit > most) most = logit, best = c;
  }
  return best;
}

}  // namespace hydrad
