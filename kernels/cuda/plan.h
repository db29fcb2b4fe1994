// What the CUDA kernels read from device memory, and the host code that plans it once per step. No CUDA
// header is needed here. The structs are uploaded as they are, to places aligned to 8 bytes, with a size that
// is a multiple of 4 (kernels read them word by word); pointers inside them are device pointers. Ranges are
// [begin, end); rows are rows of the batch unless it says logit rows; strides are in elements.
//
// The functions run on the host, on any thread, and have no errors: a batch has been checked before.
#ifndef HYDRAD_KERNELS_CUDA_PLAN_H_
#define HYDRAD_KERNELS_CUDA_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/lora.h"
#include "kernels/sampling_edits.h"
#include "kernels/types.h"

namespace hydrad::cuda {

// ---- Adapters ----

// kernels/lora.h LoraMember in device memory. In z its coefficients take columns
// z_begin .. z_begin + rank_begin[experts], and z_begin is a multiple of 8.
struct LoraMember {
  int32_t down_begin, out_begin, out, experts;
  int32_t z_begin;
  int32_t gate_begin;  // place of its first gate in a row of a run's gate record
  const int32_t* rank_begin;
  LoraGate gate;
  bool shared_a;
  const float *scale, *router_bias;
  const bf16* up;  // 16-byte aligned for the fast path, which also wants out and out_begin multiples of 8
  const float *out_scale, *out_bias;
};
// kernels/lora.h LoraGroup. A group that the adapter leaves alone has no members and no rows.
struct LoraGroup {
  const bf16* down;  // [down_rows, in]  16-byte aligned for the fast path, which wants in a multiple of 8
  int32_t down_rows, in;
  const LoraMember* members;  // ascending in out_begin
  int32_t member_count;
  int32_t z_cols;  // end of the last member's coefficients, rounded up to a multiple of 8
};
// kernels/lora.h LoraRun, for every layer at once.
struct LoraRun {
  int32_t row_begin, row_end;        // at least one row; a row is in one run of a plan at most
  const LoraGroup* groups;           // [layers * kinds] of its adapter
  const LoraGroup* const* by_layer;  // [layers] such tables, read at the layer's launches; null: `groups`
  float weight;                      // of the change
  int32_t top_k;                     // 0: as the gates say
  float* gates;  // [rows of the run, gates_stride] f32, where the gates are recorded, or null
  int64_t gates_stride;
};

// Rows of one run that are multiplied together.
struct LoraTile {
  int32_t run;        // index into LoraPlan::runs
  int32_t row, rows;  // the first, and how many: 1 .. kLoraTileRows
};
inline constexpr int kLoraMaxKinds = 8;  // groups of projections in a layer
// The runs that one pair of launches computes, LoraShrink and LoraExpand; the same for every layer and group.
// No two of them share a row.
struct LoraPlan {
  const LoraRun* runs;
  const LoraTile* tiles;  // short runs' (dot products), then others', then long runs' (no split)
  int32_t tile_count[3];
  int32_t down_rows[kLoraMaxKinds];  // largest of the runs' groups of each kind, over all layers
};

inline constexpr int kLoraDotRows = 3;     // runs up to this long are dot products
inline constexpr int kLoraTileRows = 64;   // of a tile of a longer run
inline constexpr int kLoraLongRows = 256;  // runs from here on do not split the sum over `in`
inline constexpr int kLoraMaxSplits = 8;   // stretches of `in` that are summed apart

// Upper bound of the tiles of a plan of `runs` runs over `rows` rows.
constexpr int LoraTilesAtMost(int runs, int rows) { return runs + rows / kLoraTileRows; }
// Fills tiles (room for LoraTilesAtMost) and tile_count from row_begin and row_end of the runs; the rest of
// the plan is the caller's.
void PlanLoraTiles(std::span<const LoraRun> runs, LoraTile* tiles, LoraPlan* plan);

// ---- The two ends of the network ----

// Rows of a [vocab, hidden] matrix that an adapter has in place of the base's.
struct OwnRows {
  const bf16* rows;       // [count, hidden]  16-byte aligned for the fast path, hidden a multiple of 8
  const int32_t* tokens;  // [count] ascending, the token of each row; null: row i is token i's
  int32_t count;          // 0: none
};
// One run's adapter at one end. For the embedding row_begin and row_end are rows of the batch, for lm_head
// logit rows.
struct VocabularyRun {
  int32_t row_begin = 0, row_end = 0;
  OwnRows own{};
  // The embedding's LoRA: x = out_scale * (x + scale * U^T a[token]) + weight * out_bias.
  const bf16* a = nullptr;   // [vocab, rank]; null: none
  const bf16* up = nullptr;  // [rank, hidden]
  int32_t rank = 0;
  float scale = 0;  // weight times the adapter's scale
  float weight = 1;
  const float *out_scale = nullptr, *out_bias = nullptr;  // [hidden] or null
};
// The runs of a step whose adapters change each end, in the order in which they apply.
struct VocabularyPlan {
  const VocabularyRun *embedding = nullptr, *head = nullptr;
  int32_t embedding_count = 0, head_count = 0;
};

// ---- Attention ----

// kernels/attention.h AttentionSegment, its table as a place in AttentionPlan::tables.
struct AttentionSegment {
  int32_t row_begin, row_end;  // consecutive positions of one sequence
  int32_t first_position;      // of row_begin; a row sees the positions up to its own
  int32_t table_begin;         // of its block table: entry p / block_size is the cache block of position p
};
// Queries of one segment that are multiplied together, over positions position_begin .. position_end - 1. A
// query is a pair (row, head of the group that shares a kv head): pair p is row p / group, head p % group.
struct AttentionItem {
  int32_t segment, pair_begin, pair_count;
  int32_t position_begin, position_end;
  int32_t partial;  // where the first pair's partial result goes, or -1: straight to the output
};
// The splits of one pair: partials partial, partial + stride, ..., `splits` of them, become the output of
// `row` for head `head` of every group.
struct AttentionMerge {
  int32_t row, head, partial, stride, splits;
};
struct AttentionPlan {
  const AttentionSegment* segments;
  const int32_t* tables;
  const AttentionItem* items;
  const AttentionMerge* merges;
  int32_t item_count, merge_count;
};

inline constexpr int kAttentionTilePairs = 64;
inline constexpr int kAttentionSmallPairs = 16;   // segments up to here take the decode path
inline constexpr int kAttentionSplitPairs = 256;  // segments up to here split long contexts
inline constexpr int kAttentionSplit = 512;       // positions of a split, more where there would be too many
inline constexpr int kAttentionMaxSplits = 32;

// Appends the items and merges of `segments` with heads / kv_heads = group. A context is split by its own
// length alone, while partial results fit in `partials` (AttentionScratch::partials); later segments are not
// split then.
void PlanAttention(std::span<const AttentionSegment> segments, int group, int partials,
                   std::vector<AttentionItem>* items, std::vector<AttentionMerge>* merges);

// ---- Sampling ----

using SampleEdit = LogitEdit;  // the device keeps `before`
// Parameters as in kernels/sampling.h, checked there.
struct SampleRow {
  int32_t row;     // of logits; -1: skip
  int32_t scored;  // a token: no draw, its log-probability; -1: draw
  float temperature, top_p, min_p;
  int32_t top_k;
  int32_t edit_begin, edit_end;  // of the call's edits
  uint64_t seed, step;           // which number of which stream the draw uses
  int32_t top;                   // as kernels/sampling.h SampleRow::top_logprobs, at most max_top
  // As there, in the device's memory; null: all tokens may be drawn.
  const uint32_t* allowed = nullptr;
};
struct SampleResult {
  int32_t token;  // as kernels/sampling.h Sampled
  float logprob;
  int32_t top_count;
};
inline constexpr int kSampleMaxTop = 1024;  // of the most likely tokens that a row may list

// The device's row for a draw from logits row `row`, its edits appended to `edits`. `allowed` is left to
// whoever puts the draw's mask into the device's memory.
SampleRow PlanSample(const hydrad::SampleRow& draw, int row, int vocab, std::vector<SampleEdit>* edits);

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_PLAN_H_
