// The step after the one that runs, planned and built while the device works.
#ifndef HYDRAD_SERVER_SCHEDULER_STEP_AHEAD_H_
#define HYDRAD_SERVER_SCHEDULER_STEP_AHEAD_H_

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "server/base/clock.h"
#include "server/kv/block_pool.h"
#include "server/scheduler/batch_builder.h"
#include "server/scheduler/policy.h"
#include "server/scheduler/roster.h"

namespace hydrad {

// Foresees where every sequence will stand when the step is over: all have run their rows, and those that
// drew go on, but for those that then have all their tokens. What the policy makes of that is the step ahead.
// It is run if it came true; otherwise it is dropped, and a step is planned from what is. Either way each
// request gets the same tokens. Owned by the scheduler thread.
class StepAhead {
 public:
  explicit StepAhead(const PolicyLimits& limits);

  // Prepares the step that follows the one of `parts`, which runs, and returns its batch. Null where a step
  // cannot be foreseen: a sequence would start, be preempted or fork, a router decides, or blocks are needed
  // that are still in use. The batch lacks the tokens that are not drawn yet. The blocks that it takes stay
  // with their sequences when it is dropped; they need them next. Decides, as every planning does, which
  // waiting requests may start.
  const Batch* Prepare(std::span<const BatchBuilder::Part> parts, TimePoint now, Roster& roster,
                       BlockPool& pool);
  // Puts the step that is prepared into `parts` and `batch`, with its tokens, and returns true, if it has
  // come true. The batch stays where Prepare left it. REQUIRES: the step before it is over and its tokens are
  // absorbed.
  bool Take(Roster& roster, std::vector<BatchBuilder::Part>* parts, std::unique_ptr<BatchBuilder>* batch);
  // What is prepared cannot come true.
  void Drop() { prepared_ = false; }

 private:
  bool Foresee(std::span<const BatchBuilder::Part> parts, const Roster& roster);
  bool Gather(const Roster& roster);
  bool CameTrue(const Roster& roster) const;
  int BlocksLacking() const;  // of the parts
  int RowsOf(SequenceId id) const;

  const PolicyLimits limits_;
  bool prepared_ = false;
  std::vector<SequenceView> running_;  // as foreseen, oldest first
  uint64_t arrivals_ = 0;              // Roster's, when the step was prepared
  Plan plan_;
  std::vector<BatchBuilder::Part> parts_;  // of the plan
  std::unique_ptr<BatchBuilder> batch_;    // of the parts

  // Of one Prepare; members only to keep their memory.
  std::unordered_map<SequenceId, int> rows_;  // of the step that runs
  std::vector<TenantView> tenants_;           // as foreseen
  std::vector<SequenceView> waiting_;
  int leaving_blocks_ = 0;  // that become free when the step is over
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_STEP_AHEAD_H_
