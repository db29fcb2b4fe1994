#include "server/adapters/store/apply.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/mutex.h"
#include "server/base/sha256.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

using Action = AppliedChange::Action;

constexpr int kAtOnce = 4;        // loads in flight
constexpr size_t kMostTold = 10;  // reasons in one error

Action ActionFor(const WantedAdapter& wanted, const AdapterInfo* present) {
  if (present == nullptr) return Action::kCreate;
  const bool serves = present->state == AdapterState::kAvailable;
  const bool same = wanted.digest.empty() ? present->path == wanted.path : present->digest == wanted.digest;
  if (!serves || !same || (present->lenient && !wanted.lenient)) return Action::kReplace;
  return present->pinned == wanted.pinned ? Action::kUnchanged : Action::kPin;
}

// One Apply under way. It makes a few calls of the store at once, stage by stage; the next stage begins when
// all calls of one have worked. The calls that it waits for keep it alive.
class ApplyRun : public std::enable_shared_from_this<ApplyRun> {
 public:
  using Call = std::function<void(AdapterStore::Done)>;

  ApplyRun(AdapterStore& store, const AdapterApplier::Options& options,
           std::function<void(const absl::Status&)> done)
      : store_(store), options_(options), done_(std::move(done)) {}

  void Add(const AppliedChange& change, const WantedAdapter& wanted);
  void Start() { Go(); }

 private:
  enum Step { kValidate, kLoad, kPin, kUnload, kSteps };

  AdapterStore::Done Told(const char* action, const WantedAdapter& wanted, AdapterStore::Done done) const;
  void Go();
  bool NextCall(Call* call);
  void Returned(const absl::Status& status);
  absl::Status Summary() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  AdapterStore& store_;
  const AdapterApplier::Options options_;
  const std::function<void(const absl::Status&)> done_;
  Mutex mu_;
  std::deque<Call> calls_[kSteps] ABSL_GUARDED_BY(mu_);
  int step_ ABSL_GUARDED_BY(mu_) = kValidate;
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool going_ ABSL_GUARDED_BY(mu_) = false, finished_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<absl::Status> errors_ ABSL_GUARDED_BY(mu_);
};

void ApplyRun::Add(const AppliedChange& change, const WantedAdapter& wanted) {
  MutexLock lock(&mu_);
  const WantedAdapter w{change.name, wanted.path, wanted.digest, wanted.pinned, wanted.lenient};
  const ChangeOptions digest{.digest = w.digest, .lenient = w.lenient};
  if (change.action == Action::kCreate || change.action == Action::kReplace) {
    calls_[kValidate].push_back(
        [=, this](AdapterStore::Done done) { store_.ValidateOnly(w.name, w.path, std::move(done), digest); });
    calls_[kLoad].push_back(
        [=, this](AdapterStore::Done done) { store_.Load(w.name, w.path, Told("load", w, done), digest); });
  }
  const bool fresh = change.action == Action::kCreate;
  if (change.action == Action::kPin || change.action == Action::kReplace || (fresh && w.pinned)) {
    calls_[kPin].push_back([=, this](AdapterStore::Done done) {
      store_.Pin(w.name, w.pinned, Told(w.pinned ? "pin" : "unpin", w, done));
    });
  }
  if (change.action == Action::kUnload) {
    calls_[kUnload].push_back([=, this](AdapterStore::Done done) {
      store_.Unload(w.name, Told("unload", w, done), {.force = options_.force});
    });
  }
}

AdapterStore::Done ApplyRun::Told(const char* action, const WantedAdapter& wanted,
                                  AdapterStore::Done done) const {
  if (!options_.on_change) return done;
  return [tell = options_.on_change, action, wanted, done](const absl::StatusOr<AdapterInfo>& info) {
    tell(action, wanted, info.status());
    done(info);
  };
}

// Starts the calls that may be started. A call may return before it comes back from the store: then its
// return finds `going_` set and leaves the next call to this loop, which keeps the stack flat.
void ApplyRun::Go() {
  {
    MutexLock lock(&mu_);
    if (going_) return;
    going_ = true;
  }
  Call call;
  while (NextCall(&call)) {
    call([self = shared_from_this()](const absl::StatusOr<AdapterInfo>& info) {
      self->Returned(info.status());
    });
  }
}

bool ApplyRun::NextCall(Call* call) {
  absl::Status status;
  {
    MutexLock lock(&mu_);
    const int last = options_.validate_only ? kValidate : kUnload;
    while (in_flight_ == 0 && errors_.empty() && step_ <= last && calls_[step_].empty()) ++step_;
    const bool over = !errors_.empty() || step_ > last;
    // Validation goes on after an error, to tell all that is wrong.
    const bool more = step_ <= last && !calls_[step_].empty() && (errors_.empty() || step_ == kValidate);
    if (more && in_flight_ < kAtOnce) {
      *call = std::move(calls_[step_].front());
      calls_[step_].pop_front();
      ++in_flight_;
      return true;
    }
    going_ = false;
    if (!over || more || in_flight_ > 0 || finished_) return false;
    finished_ = true;
    status = Summary();
  }
  done_(status);
  return false;
}

void ApplyRun::Returned(const absl::Status& status) {
  {
    MutexLock lock(&mu_);
    --in_flight_;
    if (!status.ok()) errors_.push_back(status);
  }
  Go();
}

absl::Status ApplyRun::Summary() {
  if (errors_.empty()) return absl::OkStatus();
  std::string text;
  for (size_t i = 0; i < std::min(errors_.size(), kMostTold); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : "; ", std::string(errors_[i].message()));
  }
  if (step_ == kValidate) {
    return InvalidArgument("{} adapters cannot be loaded, and nothing was changed: {}", errors_.size(), text);
  }
  return Aborted("the set was applied in part, apply it again: {}", text);
}

// What a request id stands for.
std::string InWords(const std::vector<WantedAdapter>& wanted, const AdapterApplier::Options& options) {
  std::string text = options.force ? "force\n" : "drain\n";
  for (const WantedAdapter& w : wanted) {
    text += fmt::format("{} {} {} {}{}\n", w.name, w.path, w.digest, w.pinned, w.lenient ? " lenient" : "");
  }
  return "apply " + Hex(Sha256::Of(text));
}

}  // namespace

std::vector<AppliedChange> PlanApply(const std::vector<WantedAdapter>& wanted,
                                     const std::vector<AdapterInfo>& present) {
  std::map<std::string, const AdapterInfo*> by_name;
  for (const AdapterInfo& info : present) by_name[info.name] = &info;
  std::map<std::string, Action> actions;
  for (const WantedAdapter& w : wanted) {
    const auto found = by_name.find(w.name);
    actions[w.name] = ActionFor(w, found == by_name.end() ? nullptr : found->second);
  }
  for (const AdapterInfo& info : present) actions.try_emplace(info.name, Action::kUnload);
  std::vector<AppliedChange> changes;
  for (const auto& [name, action] : actions) changes.push_back({name, action});
  return changes;
}

void AdapterApplier::Apply(std::vector<WantedAdapter> wanted, Options options, Done done) {
  std::map<std::string, WantedAdapter> by_name;
  for (WantedAdapter& w : wanted) {
    if (absl::StatusOr<std::string> path = store_.Locate(w.path); path.ok()) w.path = *std::move(path);
    if (!by_name.emplace(w.name, w).second)
      return done(InvalidArgument("adapter '{}' is named twice", w.name));
  }
  const std::string what = InWords(wanted, options);
  const absl::StatusOr<bool> answered = store_.WasAnswered(options.request_id, what);
  if (!answered.ok()) return done(answered.status());
  if (busy_->exchange(true)) return done(Aborted("another set is being applied"));
  const std::vector<AppliedChange> changes = PlanApply(wanted, store_.List());
  const auto finish = [busy = busy_, changes, done](const absl::Status& status) {
    *busy = false;
    status.ok() ? done(changes) : done(status);
  };
  if (*answered) return finish(absl::OkStatus());
  const auto remember = [&store = store_, options, what, finish](const absl::Status& status) {
    if (!status.ok() || options.validate_only || options.request_id.empty()) return finish(status);
    store.Remember(options.request_id, what, finish);
  };
  const auto run = std::make_shared<ApplyRun>(store_, options, remember);
  for (const AppliedChange& change : changes) run->Add(change, by_name[change.name]);
  run->Start();
}

}  // namespace hydrad
