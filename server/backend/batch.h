// One step as flat arrays: what the scheduler plans and the device reads, uploaded once.
#ifndef HYDRAD_SERVER_BACKEND_BATCH_H_
#define HYDRAD_SERVER_BACKEND_BATCH_H_

#include <cstdint>
#include <vector>

namespace hydrad {

class DeviceAdapter;

// Rows of one sequence are consecutive and ascend in position; sequences are sorted so that rows of one
// adapter generation are consecutive. Plain values; whoever fills it keeps the adapters alive until the step
// is over.
struct Batch {
  std::vector<int32_t> tokens;     // [rows] input token
  std::vector<int32_t> positions;  // [rows] its position in the sequence
  std::vector<int32_t> slots;      // [rows] where its K and V go: block * block_size + offset

  // One sequence's rows, and the block ids of its positions 0..last (in block_tables from table_begin).
  struct Segment {
    int32_t row_begin, row_end;
    int32_t first_position;
    int32_t table_begin;
  };
  std::vector<Segment> segments;
  std::vector<int32_t> block_tables;

  // Consecutive rows that use the same adapter generation. Rows of the base model are in no run.
  struct Run {
    int32_t row_begin, row_end;
    const DeviceAdapter* adapter;
  };
  std::vector<Run> runs;

  std::vector<int32_t> logit_rows;  // ascending rows whose logits are wanted

  int rows() const { return static_cast<int>(tokens.size()); }
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_BATCH_H_
