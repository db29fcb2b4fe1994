// From a plan to the flat arrays of one step.
#ifndef HYDRAD_SERVER_SCHEDULER_BATCH_BUILDER_H_
#define HYDRAD_SERVER_SCHEDULER_BATCH_BUILDER_H_

#include <span>
#include <vector>

#include "server/backend/step.h"
#include "server/scheduler/sequence.h"

namespace hydrad {

// Builds one Batch after the other in the same memory. Single-threaded. The order of the rows changes
// nobody's output, but it is the same for the same parts, so that a run can be repeated.
class BatchBuilder {
 public:
  explicit BatchBuilder(int block_size) : block_size_(block_size) {}

  // One sequence's part of a step: its next `rows` tokens, for which it has blocks.
  struct Part {
    Sequence* sequence;
    int rows;
    uint64_t
        adapter_order;  // equal for equal adapter generations; 0 for the base model, as in a routing pass
    int ahead = 0;      // rows of the step that runs, behind which these come
  };
  // Sorts `parts` by adapter, by how they use it and then by sequence, and lays them out: positions from what
  // each sequence has computed, slots and tables from its blocks. REQUIRES: rows is 1 to the sequence's
  // pending tokens, and Sequence::Reserve(ahead + rows) has succeeded; one adapter order per device adapter.
  void Build(std::span<Part> parts);
  // Puts in the tokens that the rows of the last Build waited for. A row that is ahead of what its sequence
  // has drawn has none until then.
  void PutDrawnTokens();

  // What follows is of the last Build, and valid until the next one.
  const Batch& batch() const { return batch_; }
  int distinct_adapters() const { return distinct_adapters_; }

  // What the logits of batch().logit_rows[i] are for.
  struct LogitUse {
    Sequence* sequence;
    int position;
    bool draw;  // else: score the token at position + 1
  };
  std::span<const LogitUse> logit_uses() const { return logit_uses_; }

  // The sequence of each of batch().probes.
  std::span<Sequence* const> probed() const { return probed_; }

  // The rows of a gate record that are a sequence's.
  struct GateUse {
    Sequence* sequence;
    size_t adapter;  // Request::adapter_at
    int record;
    int row_begin, rows;  // of the record
    int position;         // of the first row
  };
  std::span<const GateUse> gate_uses() const { return gate_uses_; }

 private:
  void Add(const Part& part);
  void AddRows(const Sequence& sequence, int begin, int end);
  void CountAdapters();
  // Adds the runs of every part's `term`-th adapter.
  void AddTerm(std::span<const Part> parts, size_t term);
  Batch::Run MakeRun(const AdaptedBy& by, int32_t row_begin, int32_t row_end);

  const int block_size_;
  Batch batch_;
  std::vector<LogitUse> logit_uses_;
  std::vector<GateUse> gate_uses_;
  std::vector<Sequence*> probed_;
  std::vector<int32_t> adapters_;  // of the runs; a member only to keep its memory
  int distinct_adapters_ = 0;
  int records_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_BATCH_BUILDER_H_
