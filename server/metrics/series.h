// Series whose labels are a tenant or an adapter. Clients can make many of these and of no others, so their
// number is bounded and their lines go with their adapter.
#ifndef HYDRAD_SERVER_METRICS_SERIES_H_
#define HYDRAD_SERVER_METRICS_SERIES_H_

#include <absl/base/thread_annotations.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/mutex.h"

namespace hydrad {

// The first `limit` different values keep their name; every later one is "other", until a place is given
// back. One thread at a time.
class LabelBound {
 public:
  explicit LabelBound(size_t limit) : limit_(limit) {}
  std::string Bound(std::string_view value);
  void Forget(std::string_view value);

 private:
  const size_t limit_;
  std::set<std::string, std::less<>> known_;
};

// The counters of ended requests. Thread-safe. An adapter's name is its label, the base model's is "".
class RequestSeries {
 public:
  // Adds its families to `registry`, which must outlive this.
  RequestSeries(prometheus::Registry& registry, size_t max_label_values);

  void Count(std::string_view tenant, std::string_view adapter, std::string_view outcome, int prompt_tokens,
             int generated_tokens, std::optional<int> cached_tokens = std::nullopt);
  // Removes every line labelled with `adapter`.
  void AdapterGone(std::string_view adapter);

 private:
  using Family = prometheus::Family<prometheus::Counter>;
  // A line of one of the families, found by the value of its labels: (family, tenant, adapter, outcome).
  struct Key {
    Family* family;
    std::string tenant, adapter, outcome;
    auto operator<=>(const Key&) const = default;
  };
  void Add(Family& family, const std::string& tenant, const std::string& adapter, std::string_view outcome,
           double value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Family& requests_;
  Family& prompt_tokens_;
  Family& generated_tokens_;
  Family& prefix_queries_;
  Family& prefix_hits_;
  Mutex mu_;
  LabelBound tenants_ ABSL_GUARDED_BY(mu_);
  LabelBound adapters_ ABSL_GUARDED_BY(mu_);
  std::map<Key, prometheus::Counter*> lines_ ABSL_GUARDED_BY(mu_);  // owned by their family
};

// What the routers of adapters did. Thread-safe.
class RoutedSeries {
 public:
  // Adds its families to `registry`, which must outlive this.
  RoutedSeries(prometheus::Registry& registry, size_t max_label_values, size_t max_experts);

  // Keeps the promises of Metrics::Routed.
  void Count(std::string_view adapter, std::span<const double> expert_tokens, std::optional<double> entropy,
             std::span<const std::string> names);
  void AdapterGone(std::string_view adapter);

 private:
  // The lines of one adapter, owned by their families.
  struct Lines {
    std::map<std::string, prometheus::Counter*> experts;  // by name; "other" may stand for several
    prometheus::Histogram* entropy = nullptr;
  };

  prometheus::Counter& Expert(Lines& lines, const std::string& adapter, const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t max_experts_;
  prometheus::Family<prometheus::Counter>& expert_tokens_;
  prometheus::Family<prometheus::Histogram>& entropy_;
  Mutex mu_;
  LabelBound adapters_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Lines, std::less<>> lines_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_METRICS_SERIES_H_
