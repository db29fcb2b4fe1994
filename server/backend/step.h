// One step as flat arrays: what the scheduler plans and the device reads, uploaded once.
#ifndef HYDRAD_SERVER_BACKEND_STEP_H_
#define HYDRAD_SERVER_BACKEND_STEP_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling.h"

namespace hydrad {

class DeviceAdapter;
struct Router;

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

  // Consecutive rows that use the same adapter generation in the same way. Rows of the base model are in no
  // run; rows of a request that composes several adapters are in one run for each.
  struct Run {
    int32_t row_begin, row_end;
    const DeviceAdapter* adapter;  // with by_layer any of those
    // [layers] an adapter for each layer, which may be filled in as late as that layer's turn; null:
    // `adapter` in all.
    const DeviceAdapter* const* by_layer = nullptr;
    float weight = 1;  // kernels/lora.h LoraRun, as top_k
    int32_t top_k = 0;
    int32_t gates = -1;  // number of this run's gate record: 0, 1, ... in the order of runs; -1: not recorded
  };
  // In passes: within a pass runs ascend and do not overlap. The passes are added one after the other, so the
  // order of a row's sum is that of its own request's adapters.
  std::vector<Run> runs;
  std::vector<int32_t> pass_begin;  // first run of each pass after the first
  size_t passes() const { return runs.empty() ? 0 : 1 + pass_begin.size(); }
  std::span<const Run> pass(size_t i) const {
    const size_t begin = i == 0 ? 0 : static_cast<size_t>(pass_begin[i - 1]);
    const size_t end = i < pass_begin.size() ? static_cast<size_t>(pass_begin[i]) : runs.size();
    return std::span(runs).subspan(begin, end - begin);
  }

  // Rows of one sequence that its adapter's routers look at, in every layer (Backend::Route).
  struct Probe {
    int32_t row_begin, row_end;
    const Router* router;
    double* sums;    // [layers, choices] in host memory; what the rows give is added to what is there
    int32_t pooled;  // rows that the sums are of once they are whole
    // [layers] not null: these are the last rows, and what each layer's router picks goes in here. It is the
    // memory of the by_layer of the rows' run.
    const DeviceAdapter** by_layer;
  };
  std::vector<Probe> probes;

  std::vector<int32_t> logit_rows;  // ascending rows whose logits are wanted

  int rows() const { return static_cast<int>(tokens.size()); }
};

// A row of logits to draw from: logit_rows[index] of the step's batch. What `row` refers to must stay until
// the step has been launched.
struct Draw {
  int32_t index;
  SampleRow row;
};

// A row of logits under which a token is to be scored: logit_rows[index] of the step's batch.
struct ScoreRow {
  int32_t index;
  int32_t token;
  int32_t top;  // how many of the most likely tokens are wanted beside it
};

// All that a step gives back, in the memory of whoever ran it: valid until the next step is launched. The
// samples may be moved out of.
struct StepResult {
  std::span<Sampled> sampled;                     // [draws]
  std::span<Sampled> scores;                      // [score rows]
  std::span<const std::span<const float>> gates;  // [records] of Batch::Run::gates, each [rows of the run,
                                                  // gate_count() of its adapter]
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_STEP_H_
