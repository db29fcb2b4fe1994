// The requests and sequences that the scheduler has, and in which list each sequence stands.
#ifndef HYDRAD_SERVER_SCHEDULER_ROSTER_H_
#define HYDRAD_SERVER_SCHEDULER_ROSTER_H_

#include <absl/status/status.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/scheduler/adapter_use.h"
#include "server/scheduler/fair_share.h"
#include "server/scheduler/prefix_cache.h"
#include "server/scheduler/queue_limit.h"
#include "server/scheduler/sequence.h"
#include "server/scheduler/start_gate.h"

namespace hydrad {

// A request from its arrival to its end. Adapter and blocks go back with it.
struct ActiveRequest {
  ActiveRequest(Request taken, QueueLimit::Place taken_place, std::span<const int32_t> eos);

  Request request;  // does not change, but for its adapter, which is bound when it starts
  const EndTokens end_tokens;
  bool routed = false;                     // Roster::Route has been here
  std::unique_ptr<ExpertRoute> route;      // null but for an adapter that holds several experts
  std::optional<QueueLimit::Place> place;  // until it starts
  TenantId tenant = 0;
  uint64_t adapter_order = 0;                      // once it has started
  SequenceId first_sequence = 0;                   // choice i is sequence first_sequence + i
  std::vector<std::unique_ptr<Sequence>> choices;  // those made so far: one, then request.n
  std::vector<TimePoint> last_token;               // [n] when each choice's last token was drawn
  std::vector<Sampled> prompt_logprobs;            // so far, if they were asked for
  std::vector<RouterTally> gates;  // [request.adapters()] once a routed one has run, else empty
  std::optional<TimePoint> started, first_token;
  std::optional<int> cached;  // tokens of the prompt that were in the cache, once it has been asked
  int finished = 0;           // choices
  int generated = 0;          // tokens, over all choices
};

// Owned by the scheduler thread. Every sequence that has not finished is in exactly one list: running, or its
// tenant's waiting one. Both are kept in order of arrival (ids ascend), so that a preempted sequence comes
// before all that arrived after it. A request enters the fair share and the adapter names when it is added
// and leaves them when it is removed.
class Roster {
 public:
  // A sequence and its request.
  struct Entry {
    ActiveRequest* request = nullptr;
    Sequence* sequence = nullptr;
    // Of the part of a step that the sequence has next (BatchBuilder::Part).
    uint64_t adapter_order() const {
      return sequence->adapted_by().adapter != nullptr ? request->adapter_order : 0;
    }
  };

  // `eos` are the model's end tokens. The tokenizer and the cache must outlive the roster. `want` is the
  // gate's.
  Roster(const Tokenizer& tokenizer, std::span<const int32_t> eos, int max_running, PrefixCache& cache,
         StartGate::Want want = nullptr);

  // Takes a request; its first choice waits. The others are made by Fork. REQUIRES: the id is not in use.
  void Add(Request request, QueueLimit::Place place);
  // Makes the other choices, once the first one has run the prompt. They start at once from its blocks as
  // far as max_running allows, and otherwise wait to run the prompt themselves.
  void Fork(ActiveRequest& request);

  // Decides how the expert is picked of an adapter that holds several (MakeRoute), for a request that is
  // about to start. A second call does nothing.
  absl::Status Route(ActiveRequest& request, int unsplit_rows);
  // Moves a sequence from waiting to running, with what the cache has of it. REQUIRES: its adapters are
  // bound.
  void Start(Entry entry);
  // Lets a sequence whose routing pass is over begin anew, with what the cache has of the adapted one.
  void Rerun(Entry entry);
  // Lets others use what the sequence has computed, from now on; returns what PrefixCache::Keep does.
  bool Keep(Entry entry) { return cache_.Keep(*entry.sequence); }
  // Moves a sequence from running to waiting, into its old place.
  void Preempt(Entry entry);
  // Takes out a running sequence that has drawn its last token.
  void Finish(Entry entry);
  // Takes the request and its sequences out. What it holds goes back when the result is destroyed.
  std::unique_ptr<ActiveRequest> Remove(ActiveRequest& request);

  ActiveRequest* Find(RequestId id);
  // Returns the sequence and its request; both null when the sequence has finished or its request has ended.
  Entry FindSequence(SequenceId id) const;
  ActiveRequest* Oldest();                // null when there is none
  ActiveRequest* Expired(TimePoint now);  // a request whose deadline has passed, else null
  std::optional<TimePoint> next_deadline() const;
  ActiveRequest* Aborted();  // a request whose adapter says that it must end, else null

  std::span<const Entry> running() const { return running_; }  // oldest first
  bool empty() const { return requests_.empty(); }
  bool anybody_waits() const { return !waiting_.empty(); }
  uint64_t arrivals() const { return arrivals_; }  // requests added so far

  // Decides which waiting requests may start as far as their adapters go. Once a step, before View.
  void UpdateStartGate(TimePoint now);
  // Fills in what the policy sees: all running sequences, and of each tenant as many waiting ones as a step
  // of `prefill_chunk` tokens could start. A request that waits for its adapter is not there yet: it holds up
  // nobody behind it. Nor is a sequence that waits for a mask, though a running one keeps its place.
  void View(int prefill_chunk, std::vector<SequenceView>* running, std::vector<SequenceView>* waiting) const;

  // Of a sequence that waits: as it would stand if it started now.
  SequenceView ViewWaiting(const Entry& entry) const;

  FairShare& fair_share() { return fair_share_; }
  const FairShare& fair_share() const { return fair_share_; }
  AdapterUse& adapter_use() { return adapter_use_; }

 private:
  Sequence& MakeChoice(ActiveRequest& request);
  void AddWaitingToGate();
  bool MayStart(const Request& request) const;
  void InsertRunning(Entry entry);
  void EraseRunning(SequenceId id);
  void EraseWaiting(TenantId tenant, SequenceId id);

  const Tokenizer& tokenizer_;
  const std::span<const int32_t> eos_;
  const int max_running_;
  PrefixCache& cache_;
  std::map<RequestId, std::unique_ptr<ActiveRequest>> requests_;
  std::unordered_map<SequenceId, Entry> sequences_;  // that have not finished
  std::vector<Entry> running_;                       // ascending ids
  std::map<TenantId, std::map<SequenceId, Entry>> waiting_;
  std::set<std::pair<TimePoint, RequestId>> deadlines_;
  SequenceId next_sequence_ = 1;
  uint64_t arrivals_ = 0;
  FairShare fair_share_;
  AdapterUse adapter_use_;
  StartGate gate_;
  int unbound_ = 0;        // requests with an adapter that have not started
  bool gate_open_ = true;  // there was none when the gate was last asked
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_ROSTER_H_
