// One step as flat arrays: what the scheduler plans and the device reads, uploaded once.
#ifndef HYDRAD_SERVER_BACKEND_STEP_H_
#define HYDRAD_SERVER_BACKEND_STEP_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling.h"

namespace hydrad {

// The largest step that a model will ask for.
struct StepLimits {
  int max_rows = 0, max_logit_rows = 0;
  int max_context = 0, block_size = 0;  // of one sequence, and of the KV cache
  int layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
};

// Rows of one sequence are consecutive and ascend in position; sequences are sorted so that rows of one
// adapter generation are consecutive. Plain values, which mean the same to whoever has the same adapters in
// the same slots (device_adapters.h) and the same cache. Whoever launches it keeps the adapters alive until
// the step is over.
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
    int32_t adapter;   // its slot; where the layers use different ones, that of any of those
    float weight = 1;  // kernels/lora.h LoraRun, as top_k
    int32_t top_k = 0;
    int32_t gates = -1;  // number of this run's gate record: 0, 1, ... in the order of runs; -1: not recorded
    int32_t by_layer = -1;    // >= 0: where [layers] slots of its own begin in layer_adapters
    int32_t decided_by = -1;  // >= 0: the probe whose picks say what each layer uses
    bool one_for_all_layers() const { return by_layer < 0 && decided_by < 0; }
  };
  // In the terms of a row's sum: within a term runs ascend and do not overlap. The terms are added one after
  // the other, so the order of a row's sum is that of its own request's adapters.
  std::vector<Run> runs;
  std::vector<int32_t> term_begin;  // first run of each term after the first
  std::vector<int32_t> layer_adapters;
  size_t terms() const { return runs.empty() ? 0 : 1 + term_begin.size(); }
  std::span<const Run> term(size_t i) const {
    const size_t begin = i == 0 ? 0 : static_cast<size_t>(term_begin[i - 1]);
    const size_t end = i < term_begin.size() ? static_cast<size_t>(term_begin[i]) : runs.size();
    return std::span(runs).subspan(begin, end - begin);
  }

  // Rows of one sequence that its adapter's routers look at, in every layer (Backend::Route). Probe i gives
  // routes[i] of the step's result.
  struct Probe {
    int32_t row_begin, row_end;
    int32_t router;      // its slot
    int32_t sums_begin;  // in probe_sums: [layers, choices] what rows of earlier steps gave
    int32_t pooled;      // rows that the sums are of once they are whole
    bool decides;        // these are the last rows: each layer's router picks, and a run is decided by it
  };
  std::vector<Probe> probes;
  std::vector<double> probe_sums;

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

// What a probe found out.
struct Routed {
  std::span<const double> sums;    // [layers, choices] the probe's own and what its rows gave, one by one
  std::span<const int32_t> picks;  // [layers] the router's choices; empty where the probe does not decide
};

// All that a step gives back, in the memory of whoever ran it: valid until the next step is launched. The
// samples may be moved out of.
struct StepResult {
  std::span<Sampled> sampled;                     // [draws]
  std::span<Sampled> scores;                      // [score rows]
  std::span<const std::span<const float>> gates;  // [records] of Batch::Run::gates, each [rows of the run,
                                                  // gate_count() of its adapter]
  std::span<const Routed> routes;                 // [probes]
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_STEP_H_
