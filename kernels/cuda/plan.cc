#include "kernels/cuda/plan.h"

#include <algorithm>

namespace hydrad::cuda {
namespace {

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

// Class of a run's tiles, an index of LoraPlan::tile_count.
int ClassOf(const LoraRun& run) {
  const int rows = run.row_end - run.row_begin;
  if (rows <= kLoraDotRows) return 0;
  return rows < kLoraLongRows ? 1 : 2;
}

}  // namespace

void PlanLoraTiles(std::span<const LoraRun> runs, LoraTile* tiles, LoraPlan* plan) {
  for (int kind = 0; kind < 3; ++kind) {
    const LoraTile* const first = tiles;
    for (size_t i = 0; i < runs.size(); ++i) {
      const LoraRun& run = runs[i];
      if (ClassOf(run) != kind) continue;
      for (int row = run.row_begin; row < run.row_end; row += kLoraTileRows) {
        *tiles++ = {static_cast<int32_t>(i), row, std::min(kLoraTileRows, run.row_end - row)};
      }
    }
    plan->tile_count[kind] = static_cast<int32_t>(tiles - first);
  }
}

void PlanAttention(std::span<const AttentionSegment> segments, int group, int partials,
                   std::vector<AttentionItem>* items, std::vector<AttentionMerge>* merges) {
  int used = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const AttentionSegment& s = segments[i];
    const int pairs = (s.row_end - s.row_begin) * group, context = s.first_position + s.row_end - s.row_begin;
    const int tile = pairs <= kAttentionSmallPairs ? kAttentionSmallPairs : kAttentionTilePairs;
    const int length = std::max(kAttentionSplit, CeilDiv(CeilDiv(context, kAttentionMaxSplits), 64) * 64);
    const bool split = pairs <= kAttentionSplitPairs && context > length &&
                       used + pairs * CeilDiv(context, length) <= partials;
    for (int begin = 0; begin < pairs; begin += tile) {
      const int count = std::min(tile, pairs - begin),
                end = s.first_position + (begin + count - 1) / group + 1;
      const int splits = split ? CeilDiv(end, length) : 1;
      for (int k = 0; k < splits; ++k) {
        items->push_back({static_cast<int32_t>(i), begin, count, k * length,
                          splits == 1 ? end : std::min(end, (k + 1) * length),
                          splits == 1 ? -1 : used + k * count});
      }
      if (splits == 1) continue;
      for (int p = begin; p < begin + count; ++p) {
        merges->push_back({s.row_begin + p / group, p % group, used + p - begin, count, splits});
      }
      used += count * splits;
    }
  }
}

SampleRow PlanSample(const hydrad::SampleRow& draw, int row, int vocab, std::vector<SampleEdit>* edits) {
  const SamplingParams& p = *draw.params;
  const size_t begin = edits->size();
  ListEdits(draw, vocab, edits);
  return {.row = row,
          .scored = -1,
          .temperature = p.temperature,
          .top_p = p.top_p,
          .min_p = p.min_p,
          .top_k = p.top_k,
          .edit_begin = static_cast<int32_t>(begin),
          .edit_end = static_cast<int32_t>(edits->size()),
          .seed = draw.seed,
          .step = draw.step,
          .top = draw.top_logprobs,
          .allowed = nullptr};
}

}  // namespace hydrad::cuda
