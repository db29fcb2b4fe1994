#include "server/scheduler/policy.h"

#include <algorithm>

namespace hydrad {
namespace {

// The tokens of one tenant that wait to be prefilled, as a stretch of Planner::candidates_.
struct Queue {
  TenantId tenant;
  double service;  // grows with every chunk planned
  size_t next, end;
};

// Of two queues, the one whose turn comes later; std heaps keep the "largest", the one to serve, in front.
bool Later(const Queue& a, const Queue& b) {
  return a.service != b.service ? a.service > b.service : a.tenant > b.tenant;
}

struct Candidate {
  const SequenceView* sequence;
  bool running;
};

// One call of NextStep.
class Planner {
 public:
  Planner(const Snapshot& snapshot, const PolicyLimits& limits, Plan* plan)
      : snapshot_(snapshot),
        limits_(limits),
        plan_(*plan),
        gone_(snapshot.running.size(), false),
        alive_(static_cast<int>(snapshot.running.size())),
        free_(snapshot.free_blocks),
        rows_(limits.max_rows),
        logits_(limits.max_logit_rows),
        budget_(limits.prefill_chunk) {}

  void Run() {
    MakeRoomForDecoding();
    PlanDecoding();
    PlanPrefill();
    if (plan_.chunks.empty() && plan_.preempt.empty()) RunOldestAlone();
  }

 private:
  int BlocksFor(int tokens) const { return (tokens + limits_.block_size - 1) / limits_.block_size; }
  int BlocksLacking(const SequenceView& s, int rows) const {
    return std::max(0, BlocksFor(s.computed + rows) - s.blocks);
  }

  void MakeRoomForDecoding();
  void PlanDecoding();
  void Lengthen(const SequenceView& s, Plan::Chunk& chunk);
  void PlanPrefill();
  void RunOldestAlone();

  bool PreemptOne();
  void GatherCandidates();
  void BuildQueues();
  void ServeNext(Queue& queue);
  bool Start(const SequenceView& s, int rows);
  int Chunk(const SequenceView& s) const;
  void Emit(const SequenceView& s, int rows);

  const Snapshot& snapshot_;
  const PolicyLimits& limits_;
  Plan& plan_;
  std::vector<bool> gone_;  // [running] preempted by this plan
  int alive_;               // running sequences once the plan is carried out
  int free_, rows_, logits_, budget_;
  bool closed_ = false;  // nothing may start any more in this step
  std::vector<Candidate> candidates_;
  std::vector<Queue> queues_;  // a heap
};

void Planner::MakeRoomForDecoding() {
  const auto lacking = [this] {
    int blocks = 0;
    for (size_t i = 0; i < gone_.size(); ++i) {
      const SequenceView& s = snapshot_.running[i];
      if (s.decoding && !gone_[i]) blocks += BlocksLacking(s, 1);
    }
    return blocks;
  };
  while (lacking() > free_ && PreemptOne()) {
  }
}

// The newest sequence of the most served tenant, the oldest of all excepted.
bool Planner::PreemptOne() {
  size_t victim = 0;
  for (size_t i = 1; i < gone_.size(); ++i) {
    if (gone_[i]) continue;
    const TenantId tenant = snapshot_.running[i].tenant, other = snapshot_.running[victim].tenant;
    const double service = snapshot_.tenants[tenant].service, most = snapshot_.tenants[other].service;
    if (victim == 0 || tenant == other || service > most || (service == most && tenant > other)) victim = i;
  }
  if (victim == 0) return false;
  const SequenceView& s = snapshot_.running[victim];
  gone_[victim] = true;
  --alive_;
  free_ += s.freed;
  plan_.preempt.push_back(s.id);
  closed_ = true;
  return true;
}

void Planner::PlanDecoding() {
  for (size_t i = 0; i < gone_.size(); ++i) {
    const SequenceView& s = snapshot_.running[i];
    if (!s.decoding || gone_[i] || rows_ == 0 || logits_ == 0) continue;
    if (BlocksLacking(s, 1) <= free_) Emit(s, 1);
  }
  size_t planned = 0;
  for (const SequenceView& s : snapshot_.running) {
    if (planned == plan_.chunks.size()) return;
    if (plan_.chunks[planned].id == s.id) Lengthen(s, plan_.chunks[planned++]);
  }
}

// A decoding sequence that has one row in the plan and more pending takes what is left of the room.
void Planner::Lengthen(const SequenceView& s, Plan::Chunk& chunk) {
  while (chunk.rows < s.pending && rows_ > 0) {
    const int logits = s.computed + chunk.rows >= s.first_logit ? 1 : 0;
    const int blocks = BlocksLacking(s, chunk.rows + 1) - BlocksLacking(s, chunk.rows);
    if (logits > logits_ || blocks > free_) return;
    ++chunk.rows, --rows_, logits_ -= logits, free_ -= blocks;
  }
}

void Planner::PlanPrefill() {
  GatherCandidates();
  BuildQueues();
  while (!queues_.empty() && budget_ > 0 && rows_ > 0) {
    std::pop_heap(queues_.begin(), queues_.end(), Later);
    Queue& queue = queues_.back();
    ServeNext(queue);
    if (queue.next == queue.end) {
      queues_.pop_back();
    } else {
      std::push_heap(queues_.begin(), queues_.end(), Later);
    }
  }
}

void Planner::GatherCandidates() {
  for (size_t i = 0; i < gone_.size(); ++i) {
    const SequenceView& s = snapshot_.running[i];
    if (!s.decoding && !gone_[i]) candidates_.push_back({&s, true});
  }
  if (!closed_ && alive_ < limits_.max_running) {
    for (const SequenceView& s : snapshot_.waiting) candidates_.push_back({&s, false});
  }
  // Stable: within a tenant the running ones stay in front, and each kind in order of arrival.
  std::stable_sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.sequence->tenant < b.sequence->tenant;
  });
}

void Planner::BuildQueues() {
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const TenantId tenant = candidates_[i].sequence->tenant;
    if (queues_.empty() || queues_.back().tenant != tenant) {
      queues_.push_back({tenant, snapshot_.tenants[tenant].service, i, i});
    }
    queues_.back().end = i + 1;
  }
  std::make_heap(queues_.begin(), queues_.end(), Later);
}

void Planner::ServeNext(Queue& queue) {
  const Candidate candidate = candidates_[queue.next++];
  const SequenceView& s = *candidate.sequence;
  const int rows = Chunk(s);
  if (candidate.running) {
    const int room = (s.blocks + free_) * limits_.block_size - s.computed;
    if (std::min(rows, room) <= 0) return;
    Emit(s, std::min(rows, room));
  } else if (rows <= 0 || !Start(s, rows)) {
    queue.next = queue.end;  // in order of arrival: nothing behind it may start
    return;
  }
  const Plan::Chunk& chunk = plan_.chunks.back();
  budget_ -= chunk.rows;
  queue.service += FairShare::kInputCost * chunk.rows / snapshot_.tenants[queue.tenant].weight;
}

bool Planner::Start(const SequenceView& s, int rows) {
  if (closed_ || alive_ >= limits_.max_running) return false;
  const int watermark = alive_ > 0 ? limits_.watermark_blocks : 0;
  if (BlocksLacking(s, s.preempted ? s.pending : rows) + s.reclaims + watermark > free_) {
    plan_.skipped.push_back(s.id);
    closed_ = s.times_skipped >= limits_.patience;
    return false;
  }
  ++alive_;
  Emit(s, rows);
  return true;
}

// As many pending tokens as rows, logit rows and the budget allow; all or none of those that must not be
// split. Blocks are not looked at.
int Planner::Chunk(const SequenceView& s) const {
  if (s.unsplit > 0) {
    const bool first = budget_ == limits_.prefill_chunk;
    return s.unsplit <= rows_ && (first || s.unsplit <= budget_) && logits_ > 0 ? s.unsplit : 0;
  }
  const int rows = std::min({s.pending, budget_, rows_});
  const int before_logits = std::max(0, s.first_logit - s.computed);
  return std::min(rows, before_logits + logits_);
}

void Planner::Emit(const SequenceView& s, int rows) {
  plan_.chunks.push_back({s.id, rows});
  free_ -= BlocksLacking(s, rows) + s.reclaims;
  rows_ -= rows;
  logits_ -= std::max(0, s.computed + rows - std::max(s.first_logit, s.computed));
}

// Prefills have taken all blocks between them and none can go on.
void Planner::RunOldestAlone() {
  if (snapshot_.running.empty()) return;
  const SequenceView& s = snapshot_.running.front();
  while (free_ < BlocksLacking(s, 1) && PreemptOne()) {
  }
  const int room = (s.blocks + free_) * limits_.block_size - s.computed;
  if (const int rows = std::min(Chunk(s), room); rows > 0) Emit(s, rows);
}

}  // namespace

void NextStep(const Snapshot& snapshot, const PolicyLimits& limits, Plan* plan) {
  plan->preempt.clear();
  plan->chunks.clear();
  plan->skipped.clear();
  Planner(snapshot, limits, plan).Run();
}

}  // namespace hydrad
