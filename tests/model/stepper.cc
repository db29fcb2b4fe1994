#include "tests/model/stepper.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

void AddRows(const Chunk& chunk, int block_size, BlockPool& pool, Batch& batch) {
  TestSequence& s = *chunk.sequence;
  const int end = s.computed + chunk.tokens;
  while (static_cast<int>(s.blocks.size()) * block_size < end) s.blocks.push_back(pool.Allocate().value());
  batch.segments.push_back({batch.rows(), batch.rows() + chunk.tokens, s.computed,
                            static_cast<int32_t>(batch.block_tables.size())});
  for (const Block& block : s.blocks) batch.block_tables.push_back(block.id());
  if (s.adapter != nullptr) {
    const int begin = batch.rows();
    if (!batch.runs.empty() && batch.runs.back().adapter == s.adapter && batch.runs.back().row_end == begin) {
      batch.runs.back().row_end += chunk.tokens;
    } else {
      batch.runs.push_back({begin, begin + chunk.tokens, s.adapter});
    }
  }
  for (; s.computed < end; ++s.computed) {
    batch.logit_rows.push_back(batch.rows());
    batch.tokens.push_back(s.tokens[s.computed]);
    batch.positions.push_back(s.computed);
    batch.slots.push_back(s.blocks[s.computed / block_size].id() * block_size + s.computed % block_size);
  }
}

}  // namespace

void Preempt(TestSequence& sequence) {
  sequence.computed = 0;
  sequence.blocks.clear();
}

std::vector<std::vector<float>> RunStep(Transformer& model, BlockPool& pool, std::span<const Chunk> chunks) {
  Batch batch;
  for (const Chunk& chunk : chunks) AddRows(chunk, model.limits().block_size, pool, batch);
  model.Forward(batch);
  std::vector<std::vector<float>> logits;
  for (int row = 0; row < batch.rows(); ++row) {
    const std::span<const float> values = model.Logits(row);
    logits.emplace_back(values.begin(), values.end());
  }
  return logits;
}

}  // namespace hydrad
