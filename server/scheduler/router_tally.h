// What the routers of one adapter did for one request, added up row by row.
#ifndef HYDRAD_SERVER_SCHEDULER_ROUTER_TALLY_H_
#define HYDRAD_SERVER_SCHEDULER_ROUTER_TALLY_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "server/backend/adapter_weights.h"  // GatePlace

namespace hydrad {

// A request's routing by one adapter, as its client may ask to see it.
struct AdapterRouting {
  struct Router {
    int layer;
    Projection projection;
    std::vector<float> mean;  // [experts] weight, over all rows
  };
  std::string adapter;
  int rows = 0;  // tokens of the prompt and of all choices that ran
  std::vector<Router> routers;
  // [choices][tokens]: of each generated token the expert that weighed most, over all routers, in the row
  // that it was drawn from.
  std::vector<std::vector<int32_t>> top;
};

// Single-threaded. Cheap where nobody asked: then only drawn rows are looked at.
class RouterTally {
 public:
  // `places` are the adapter's, and stay. `keep_means`: for Routing().
  RouterTally(std::span<const GatePlace> places, bool keep_means);

  // A row of the adapter's gate record. `drawn_for`: the choice whose next token is drawn from it, or -1.
  void Add(std::span<const float> gates, int drawn_for);

  // Of drawn rows. How the tokens were shared out among the experts: each token counts 1, in parts that
  // follow its weights, over all routers.
  std::span<const double> expert_tokens() const { return expert_tokens_; }
  int drawn() const { return drawn_; }
  // The mean of the routers' entropies: 0 where one expert has all the weight, 1 where all have the same.
  double entropy() const;

  AdapterRouting Routing(const std::string& adapter) const;

 private:
  void AddDrawn(std::span<const float> gates, int choice);

  const std::span<const GatePlace> places_;
  const bool keep_means_;
  int rows_ = 0, drawn_ = 0;
  double entropy_sum_ = 0;
  int64_t entropies_ = 0;
  std::vector<double> means_;          // [gates of a row] sums, with keep_means
  std::vector<double> expert_tokens_;  // [experts]
  std::vector<double> share_;          // [experts] of one row; a member only to keep its memory
  std::vector<std::vector<int32_t>> top_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_ROUTER_TALLY_H_
