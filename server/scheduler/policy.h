// What to run in the next step: a pure function from values to a plan.
#ifndef HYDRAD_SERVER_SCHEDULER_POLICY_H_
#define HYDRAD_SERVER_SCHEDULER_POLICY_H_

#include <cstdint>
#include <span>
#include <vector>

#include "server/scheduler/fair_share.h"

namespace hydrad {

using SequenceId = uint64_t;  // ascends in order of arrival

// One sequence as the policy sees it. It decodes when nothing but its draws holds it up; until then it is
// being prefilled.
struct SequenceView {
  SequenceId id = 0;
  TenantId tenant = 0;
  int computed = 0;       // tokens whose K/V are in the cache
  int pending = 0;        // tokens still to run before the next draw, >= 1
  bool decoding = false;  // the pending tokens are those that were drawn last, mostly one
  int first_logit = 0;    // the first position whose logits are wanted; those of all later ones are too
  // > 0 while the sequence waits to start: its first so many rows must run in one step.
  int unsplit = 0;
  int blocks = 0;  // KV blocks that it holds; they have room for the computed tokens at least
  int freed = 0;   // those of them that come back if it is preempted; others may share the rest
  // While it waits to start, `blocks` are those that it finds in the prefix cache, with their tokens
  // computed. It holds them once it starts; of so many of them nobody does yet, so that they count as free.
  int reclaims = 0;
  // It waits to be computed again. It does not start before all of it fits, lest it be preempted at once.
  bool preempted = false;
  int times_skipped = 0;  // steps in which it was its turn to start while its blocks did not fit
};

// What the policy may look at. The engine copies it out at the start of a step.
struct Snapshot {
  std::span<const TenantView> tenants;    // indexed by TenantId
  std::span<const SequenceView> running;  // oldest first
  // Oldest first within each tenant. There are no more of a tenant than a step could start.
  std::span<const SequenceView> waiting;
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

// The most rows that a sequence may need in one step. So many are left whatever else is running.
inline int UnsplitRows(const PolicyLimits& limits) { return limits.max_rows - limits.max_running + 1; }

// What must be done this step, in this order. A plan is reused from step to step for its memory.
struct Plan {
  // The next `rows` pending tokens of a sequence, which starts by this if it waits.
  struct Chunk {
    SequenceId id;
    int rows;
    bool operator==(const Chunk&) const = default;
  };
  std::vector<SequenceId> preempt;
  std::vector<Chunk> chunks;        // of decoding sequences, then of prompts
  std::vector<SequenceId> skipped;  // it was their turn to start, but their blocks do not fit
};

// Chooses the next step.
//
// Decoding. Every decoding sequence runs with one row. While the blocks for these rows are lacking, the
// newest sequence of the most served tenant is preempted, but never the oldest sequence of all, so that
// something always comes to its end. Sequences with more pending rows run with more of them as far as rows,
// logit rows and blocks are left.
//
// Prompts. Their rows share what is left of `prefill_chunk`, rows and logit rows. The least served tenant
// comes first, and each chunk counts as service at once, so that one tenant's long prompts cannot hold up
// another's. Within a tenant, sequences that have started go first, then those that arrived first.
//
// Starting. A sequence starts when its first chunk, the free blocks that it begins with and the watermark fit
// into the free blocks. One that does
// not fit holds up its own tenant at once, and the others after `patience` steps. Nothing starts in a step
// that preempts. A sequence whose first rows must not be split starts with all of them or not at all. They
// may exceed what is left of `prefill_chunk` when they are the step's first prompt rows. So it starts at the
// latest when its tenant is the least served, if there are no more of them than UnsplitRows.
//
// If nothing else could run, the oldest sequence gets its blocks from the others.
//
// The same snapshot gives the same plan. A plan that only preempts is possible where blocks are shared; the
// next step then sees what has become free. REQUIRES: the blocks of any one sequence at its longest fit into
// the cache.
void NextStep(const Snapshot& snapshot, const PolicyLimits& limits, Plan* plan);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_POLICY_H_
