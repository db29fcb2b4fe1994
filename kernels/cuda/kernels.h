// The kernels of the CUDA backend, stated once. Needs CUDA's headers, so nothing of the CPU build includes
// it.
//
// What holds for all of them:
//  * Every pointer is device memory, unless it says host. Nothing is allocated, nothing waits: a launcher
//    works out its grid, enqueues on `stream` (always last) and returns the launch's error. The grid depends
//    on the launcher's arguments alone; whatever changes from step to step (counts, lists, adapters) is read
//    from device memory, so that a captured graph stays valid. kernels/cuda/plan.h fills those lists on the
//    host.
//  * Weights, adapters, the KV cache and activations are bf16; the residual stream and the logits are f32;
//    sums are f32. The stream is f32 because it takes one rounding per sublayer otherwise, 2 * layers of
//    them at the size of the stream itself, while its traffic is a fraction of a percent of a step's.
//  * A row of results has the same bits in every batch, unless a contract says what else it depends on. No
//    result depends on the order in which blocks run.
//  * Shapes that no fast path takes (odd widths, unaligned rows) take a slow one inside the same launch.
//  * cudaErrorInvalidValue without a launch for arguments out of a contract's range. No rows: no launch.
#ifndef HYDRAD_KERNELS_CUDA_KERNELS_H_
#define HYDRAD_KERNELS_CUDA_KERNELS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/cuda/plan.h"
#include "kernels/types.h"

namespace hydrad::cuda {

// Blocks that a multiprocessor holds of the kernels that share out their work over a grid, by registers and
// shared memory; a grid of as many for each keeps all of them at work at once. More would wait for the first.
inline constexpr int kLoraBlocks = 4;
constexpr int AttentionBlocks(int head_dim) { return head_dim <= 64 ? 4 : head_dim <= 128 ? 3 : 2; }

// ---- Rows: elementwise.cu, rms_norm.cu, rope.cu ----

// x[r] = table row tokens[r]. table [vocab, x.cols] bf16, row-major.
cudaError_t Embed(Mat<float> x, const bf16* table, const int32_t* tokens, cudaStream_t stream);

// kernels/elementwise.h RmsNorm of the stream: y[r] = norm(x[rows ? rows[r] : r]) * weight over all columns.
cudaError_t RmsNorm(Mat<bf16> y, Mat<const float> x, const int32_t* rows, const float* weight, float eps,
                    cudaStream_t stream);
// x += delta, then y = norm(x): a sublayer's output joins the stream in the norm of the next one.
cudaError_t AddRmsNorm(Mat<bf16> y, Mat<float> x, Mat<const bf16> delta, const float* weight, float eps,
                       cudaStream_t stream);
// The norm of bf16 rows over `width` consecutive columns at a time; y may be x.
cudaError_t RmsNorm(Mat<bf16> y, Mat<const bf16> x, const float* weight, int width, float eps,
                    cudaStream_t stream);

// x += delta.
cudaError_t Add(Mat<float> x, Mat<const bf16> delta, cudaStream_t stream);
// y[:, i] = silu(gate_up[:, i]) * gate_up[:, y.cols + i].
cudaError_t SiluMul(Mat<bf16> y, Mat<const bf16> gate_up, cudaStream_t stream);
// y[r] = x[rows ? rows[r] : r], rounded to nearest where the type narrows.
cudaError_t CopyRows(Mat<float> y, Mat<const float> x, const int32_t* rows, cudaStream_t stream);
cudaError_t CopyRows(Mat<bf16> y, Mat<const float> x, const int32_t* rows, cudaStream_t stream);
cudaError_t CopyRows(Mat<float> y, Mat<const bf16> x, const int32_t* rows, cudaStream_t stream);

// Between the q/k/v product and attention, in one launch over qkv [rows, q | k | v]: each head of q and k is
// normed where q_norm, k_norm ([head_dim] f32) are not null (both or none), rotated (kernels/elementwise.h
// Rope) by row positions[r] of cos_sin [max_context, head_dim] (RopeTable of 0, 1, ...), rounded once; q is
// written back, k and v go to slot slots[r] of the cache. A row with slot -1 writes nothing.
struct RopeArgs {
  int heads;
  const float *q_norm, *k_norm;
  float eps;
  const float* cos_sin;
  const int32_t *positions, *slots;  // [rows]
};
cudaError_t RopeWriteKv(Mat<bf16> qkv, const RopeArgs& args, KvLayer<bf16> kv, cudaStream_t stream);

// ---- Adapters: lora_shrink.cu, lora_expand.cu; see plan.h for the tables ----

// Which group of which layer, among `kinds` groups per layer.
struct LoraSite {
  int layer, kind, kinds;
};

// What the two launches of one plan hand each other. Reused by every launch on the stream.
struct LoraScratch {
  float* u;           // [kLoraMaxSplits, rows, u_stride]  partial products with D
  int u_stride;       // at least the down_rows of every group
  bf16* z;            // [rows, z_stride]  gated and scaled coefficients, 16-byte aligned
  int z_stride;       // at least the z_cols of every group, a multiple of 8
  int32_t* arrivals;  // [LoraTilesAtMost]  zero before the first launch; every launch leaves zeros
  int rows;           // at least x.rows
  int blocks;         // of the grid: kLoraBlocks per multiprocessor
};

// z = weight * gate * scale * (A x) for the rows of every run of the plan: one launch for all runs and for
// all projections that share x. u = [R; A] x is summed in f32; the gates are those of kernels/lora.h, in f32,
// and recorded where a run asks; z is rounded to bf16.
//
// The order of a row's sum depends on its run's length (below 4 rows, below 256, above) and tile: results of
// a row alone and in a run differ by f32 rounding of u only, and by one rounding of z where that tips it.
cudaError_t LoraShrink(const LoraPlan* plan, LoraSite site, Mat<const bf16> x, const LoraScratch& scratch,
                       cudaStream_t stream);

// y = out_scale * (y + U^T z) + weight * out_bias for the rows of every run and the columns of every member
// of its group; nothing else is touched. One launch. y is rounded once; the sums of a row have the same order
// in runs of 4 rows and more, another one in shorter runs.
cudaError_t LoraExpand(Mat<bf16> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                       cudaStream_t stream);
cudaError_t LoraExpand(Mat<float> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                       cudaStream_t stream);

// For long runs whose gates pick, in place of LoraExpand: the same bits in y, but what no row of a tile
// picked is neither read nor multiplied. Two launches, after LoraShrink: the first puts the rows of every run
// in an order in which those that picked alike stand side by side, for each member of the group; the second
// takes tiles in that order. Worth them where the zeros would be many (lora_regroup.cu).
//
// REQUIRES: the plan's runs have kLoraDotRows + 1 rows at least, their groups kLoraRegroupMembers members at
// most.
inline constexpr int kLoraRegroupMembers = 4;
struct LoraRegrouped {
  uint64_t* picked;   // [kLoraRegroupMembers, rows]  by row: the experts of its coefficients, bit e % 64
  int32_t* order;     // [kLoraRegroupMembers, rows]  the rows of each run, at the places of the run
  int32_t* arrivals;  // [kLoraRegroupMembers, rows]  zero before the first launch; every launch leaves zeros
  int rows;           // at least y.rows
};
cudaError_t LoraRegroup(const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                        const LoraRegrouped& to, cudaStream_t stream);
cudaError_t LoraExpandRegrouped(Mat<bf16> y, const LoraPlan* plan, LoraSite site, const LoraScratch& scratch,
                                const LoraRegrouped& from, cudaStream_t stream);

// ---- The two ends of the network: vocabulary.cu; see plan.h for the tables ----

// The rows of x [rows, hidden] (the stream, holding the base's embeddings of tokens) that belong to the
// embedding's runs become those of their adapters: the adapter's own row where it has one, then the low-rank
// change. Runs are taken in their order.
cudaError_t AdaptEmbedding(Mat<float> x, const int32_t* tokens, const VocabularyPlan* plan,
                           cudaStream_t stream);
// logits[r][t] = x[r] . row of t for the rows of every run of lm_head and the tokens t that its adapter has
// rows of its own for. x [logit rows, hidden], logits [logit rows, vocab]; `blocks` make up the grid. What a
// LoRA of lm_head adds comes after, by LoraShrink and LoraExpand over the logit rows.
cudaError_t OwnLogits(Mat<float> logits, Mat<const bf16> x, const VocabularyPlan* plan, int blocks,
                      cudaStream_t stream);

// ---- The router of a mixture that picks one expert per sequence: router.cu ----

// sums[e] += router[e] . x[r] for r = row_begin .. row_end - 1 one after the other, in double: a prompt in
// pieces has the sums of the whole. Then, where `chosen` is not null, *chosen and *choice are those of the
// largest sums[e] / pooled + bias[e]: the first of equals, and a NaN never wins.
struct RouterProbe {
  int32_t row_begin, row_end;
  int32_t experts, pooled;
  const float* const* router;       // [experts] rows of [x.cols]
  const float* bias;                // [experts] or null
  double* sums;                     // [experts]
  const LoraGroup* const* choices;  // [experts] or null
  const LoraGroup** chosen;         // null: only sums
  int32_t* choice;                  // or null
};
// `count` is read from device memory; `at_most` blocks are launched.
cudaError_t ProbeRouters(const RouterProbe* probes, const int32_t* count, int at_most, Mat<const float> x,
                         cudaStream_t stream);

// ---- Attention: attention.cu, attention_slow.cu ----

struct AttentionScratch {
  float* out;   // [partials, kv_heads, head_dim]  of one split each, weighted by nothing yet
  float2* sum;  // [partials, kv_heads]  its largest score (in units of log2 e) and sum of weights
  int partials;
  int blocks;  // of the grid: AttentionBlocks(head_dim) per multiprocessor
};

// kernels/attention.h Attend over the plan's segments. out and q are [rows, heads * head_dim]. Two launches:
// the second merges the splits of long contexts and finds none otherwise. Fast for head_dim a multiple of 8
// up to 256 and rows aligned to 16 bytes.
//
// A row's result depends on its segment's number of rows and position only through f32 rounding: scores and
// values are summed over the same 64-position stretches, joined in order.
cudaError_t Attend(Mat<bf16> out, Mat<const bf16> q, KvLayer<bf16> kv, const AttentionPlan* plan, float scale,
                   const AttentionScratch& scratch, cudaStream_t stream);

// ---- Sampling: sampling.cu ----

// kernels/sampling.h Sample and Score for logits rows rows[i].row, i < count; the order of the steps, the
// generator and the ties are the reference's. Weights are held as whole multiples of 2^-40, so sums over a
// vocabulary are exact and have no order; a draw can differ from the reference's only where its uniform
// number falls within the rounding of one exponential of a boundary. `top` is [count, max_top]. Leaves logits
// as they were.
cudaError_t Sample(Mat<float> logits, const SampleRow* rows, int count, SampleEdit* edits,
                   SampleResult* results, TokenLogprob* top, int max_top, cudaStream_t stream);

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_KERNELS_H_
