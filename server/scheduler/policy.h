// What to run in the next step: a pure function from values to a plan.
#ifndef HYDRAD_SERVER_SCHEDULER_POLICY_H_
#define HYDRAD_SERVER_SCHEDULER_POLICY_H_

#include <cstdint>
#include <span>
#include <vector>

#include "server/scheduler/fair_share.h"

namespace hydrad {

using SequenceId = uint64_t;  // ascends in order of arrival

// One sequence as the policy sees it.
struct SequenceView {
  SequenceId id = 0;
  TenantId tenant = 0;
  int computed = 0;       // tokens whose K/V are in the cache
  int pending = 0;        // tokens still to run before the next draw, >= 1
  bool decoding = false;  // pending are the tokens that came last, mostly one: nothing else holds them up
  int first_logit = 0;    // first position whose logits are wanted; so are all pending ones after it
  int unsplit = 0;        // > 0: while it waits to start, its first so many rows must run in one step
  int blocks = 0;         // KV blocks held; they have room for the computed tokens at least
  int freed = 0;          // of them, those that come back if it is preempted (others may share the rest)
  bool preempted =
      false;  // it waits to be computed again: not before all of it fits, lest it be preempted at once
  int times_skipped = 0;  // steps that it was its turn to start while its blocks did not fit
};

// What the policy may look at, copied out at the start of a step.
struct Snapshot {
  std::span<const TenantView> tenants;    // indexed by TenantId
  std::span<const SequenceView> running;  // oldest first
  std::span<const SequenceView>
      waiting;  // per tenant oldest first; no more of a tenant than a step could start
  int free_blocks = 0;
};

struct PolicyLimits {
  int max_running = 128;     // sequences in one step; at most max_rows and max_logit_rows
  int max_rows = 512;        // rows in one step
  int max_logit_rows = 128;  // rows whose logits are wanted in one step
  int prefill_chunk = 256;   // prompt rows in one step, over all sequences
  int block_size = 16;
  int watermark_blocks = 1;  // left free when a sequence starts beside others, for their next tokens
  int patience = 64;         // after a sequence that was skipped this often, nothing else starts
};

// How many rows a sequence may need in one step: those that are left whatever else is running.
inline int UnsplitRows(const PolicyLimits& limits) { return limits.max_rows - limits.max_running + 1; }

// What must be done this step, in this order. Reused from step to step for its memory.
struct Plan {
  struct Chunk {
    SequenceId id;
    int rows;  // its next pending tokens
    bool operator==(const Chunk&) const = default;
  };
  std::vector<SequenceId> preempt;
  std::vector<Chunk> chunks;        // decode rows, then prefill chunks; one that waits starts by this
  std::vector<SequenceId> skipped;  // it was their turn to start, but their blocks do not fit
};

// Chooses the next step:
// - Every decoding sequence runs, with one row at least, and with more of those pending as far as rows, logit
//   rows and blocks are left when each has its one. While their blocks are lacking, the newest sequence of
//   the most served
// tenant is
//   preempted; but never the oldest sequence of all, so that something always comes to its end.
// - Prompt rows share what is left of `prefill_chunk`, rows and logit rows: the least served tenant first,
// each
//   chunk counted at once, so that one tenant's long prompts cannot hold up another's. Within a tenant what
//   has started goes first, then by arrival.
// - A sequence starts when its first chunk and the watermark fit into the free blocks. One that does not fit
// holds
//   up its own tenant; others only after `patience` steps. Nothing starts in a step that preempts.
// - A sequence whose first rows must not be split starts with all of them or not at all. They may exceed what
// is
//   left of `prefill_chunk` when they are the step's first prompt rows: so it starts at the latest when its
//   tenant is the least served, if they are not more than UnsplitRows.
// - If nothing else could run, the oldest sequence gets its blocks from the others.
// The same snapshot gives the same plan. A plan that only preempts is possible (shared blocks); the next step
// then sees what has become free. REQUIRES: the blocks of any one sequence at its longest fit into the cache.
void NextStep(const Snapshot& snapshot, const PolicyLimits& limits, Plan* plan);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_POLICY_H_
