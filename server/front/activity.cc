#include "server/front/activity.h"

#include <utility>

namespace hydrad {

struct Activity::Counts {
  Mutex mu;
  TenantActivity now ABSL_GUARDED_BY(mu);
};

// Of one request. The thread of the delivery calls it, but for its end, which is whoever's that drops it.
class Activity::Watcher final : public TokenSink {
 public:
  Watcher(std::shared_ptr<TokenSink> sink, std::shared_ptr<Counts> counts, std::vector<std::string> adapters)
      : sink_(std::move(sink)), counts_(std::move(counts)), adapters_(std::move(adapters)) {
    MutexLock lock(&counts_->mu);
    ++counts_->now.waiting;
    for (const std::string& adapter : adapters_) ++counts_->now.adapters[adapter];
  }
  ~Watcher() override { End(); }

  void OnStart(OutputStart start) override {
    {
      MutexLock lock(&counts_->mu);
      --counts_->now.waiting;
      ++counts_->now.running;
      started_ = true;
    }
    sink_->OnStart(std::move(start));
  }
  bool OnPiece(OutputPiece piece) override {
    {
      MutexLock lock(&counts_->mu);
      counts_->now.generated_tokens += static_cast<int64_t>(piece.tokens.size());
    }
    return sink_->OnPiece(std::move(piece));
  }
  // The request has ended when its client hears of it.
  void OnDone(absl::Status status, const Usage& usage) override {
    End();
    sink_->OnDone(std::move(status), usage);
  }

 private:
  void End() {
    if (std::exchange(ended_, true)) return;
    MutexLock lock(&counts_->mu);
    --(started_ ? counts_->now.running : counts_->now.waiting);
    ++counts_->now.ended;
    for (const std::string& adapter : adapters_) {
      const auto at = counts_->now.adapters.find(adapter);
      if (--at->second == 0) counts_->now.adapters.erase(at);
    }
  }

  const std::shared_ptr<TokenSink> sink_;
  const std::shared_ptr<Counts> counts_;
  const std::vector<std::string> adapters_;
  bool started_ = false, ended_ = false;
};

std::shared_ptr<Activity::Counts> Activity::CountsOf(const std::string& tenant) {
  MutexLock lock(&mu_);
  std::shared_ptr<Counts>& counts = tenants_[tenant];
  if (counts == nullptr) counts = std::make_shared<Counts>();
  return counts;
}

std::shared_ptr<TokenSink> Activity::Watch(std::shared_ptr<TokenSink> sink, const std::string& tenant,
                                           std::vector<std::string> adapters) {
  return std::make_shared<Watcher>(std::move(sink), CountsOf(tenant), std::move(adapters));
}

TenantActivity Activity::Of(const std::string& tenant) const {
  std::shared_ptr<Counts> counts;
  {
    MutexLock lock(&mu_);
    const auto at = tenants_.find(tenant);
    if (at == tenants_.end()) return {};
    counts = at->second;
  }
  MutexLock lock(&counts->mu);
  return counts->now;
}

}  // namespace hydrad
