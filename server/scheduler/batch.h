// From a plan to the flat arrays of one step.
#ifndef HYDRAD_SERVER_SCHEDULER_BATCH_H_
#define HYDRAD_SERVER_SCHEDULER_BATCH_H_

#include <span>
#include <vector>

#include "server/backend/batch.h"
#include "server/scheduler/sequence.h"

namespace hydrad {

// Builds one Batch after the other in the same memory. Single-threaded.
class BatchBuilder {
 public:
  explicit BatchBuilder(int block_size) : block_size_(block_size) {}

  // One sequence's part of a step: its next `rows` tokens, for which it has blocks.
  struct Part {
    Sequence* sequence;
    int rows;
    uint64_t adapter_order;  // equal for equal adapter generations; 0 for the base model
  };
  // Sorts `parts` by adapter and then by sequence, and lays them out.
  void Build(std::span<Part> parts);

  const Batch& batch() const { return batch_; }
  int distinct_adapters() const { return distinct_adapters_; }

  // What the logits of batch().logit_rows[i] are for.
  struct LogitUse {
    Sequence* sequence;
    int position;
    bool draw;  // else: score the token at position + 1
  };
  std::span<const LogitUse> logit_uses() const { return logit_uses_; }

 private:
  void Add(const Part& part);
  void AddRows(const Sequence& sequence, int rows);
  void AddRun(int row_begin, int row_end, const DeviceAdapter* adapter);

  const int block_size_;
  Batch batch_;
  std::vector<LogitUse> logit_uses_;
  int distinct_adapters_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_BATCH_H_
