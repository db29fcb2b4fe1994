#include "tests/model/stepper.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace hydrad {
namespace {

void AddRows(const Chunk& chunk, int block_size, BlockPool& pool, Batch& batch) {
  TestSequence& s = *chunk.sequence;
  const int end = s.computed + chunk.tokens;
  while (static_cast<int>(s.blocks.size()) * block_size < end) s.blocks.push_back(pool.Allocate().value());
  batch.segments.push_back({batch.rows(), batch.rows() + chunk.tokens, s.computed,
                            static_cast<int32_t>(batch.block_tables.size())});
  for (const Block& block : s.blocks) batch.block_tables.push_back(block.id());
  if (s.probe) {
    if (const auto probe = s.probe(s.computed, chunk.tokens, batch.rows())) batch.probes.push_back(*probe);
  }
  for (; s.computed < end; ++s.computed) {
    batch.logit_rows.push_back(batch.rows());
    batch.tokens.push_back(s.tokens[s.computed]);
    batch.positions.push_back(s.computed);
    batch.slots.push_back(s.blocks[s.computed / block_size].id() * block_size + s.computed % block_size);
  }
}

// The `pass`-th adapter of a sequence, its adapter null when it has fewer.
ComposedAdapter AdapterOf(const TestSequence& s, size_t pass) {
  if (pass == 0) return {s.adapter, s.weight, s.top_k};
  return pass <= s.more.size() ? s.more[pass - 1] : ComposedAdapter{nullptr, 0};
}

// Adjacent rows that use one adapter alike are one run.
void AddPass(std::span<const Chunk> chunks, size_t pass, Batch& batch) {
  const size_t begin = batch.runs.size();
  for (size_t i = 0; i < chunks.size(); ++i) {
    const TestSequence& s = *chunks[i].sequence;
    const auto [adapter, weight, top_k] = AdapterOf(s, pass);
    const auto [row_begin, row_end, position, table] = batch.segments[i];
    const int plain = std::clamp(s.adapter_begin - position, 0, row_end - row_begin);
    if (row_begin + plain == row_end) continue;
    Batch::Run run{row_begin + plain, row_end, adapter};
    run.weight = weight, run.top_k = top_k;
    if (pass == 0 && s.by_layer != nullptr) {
      run.by_layer = s.by_layer;
      batch.runs.push_back(run);
      continue;
    }
    if (adapter == nullptr) continue;
    Batch::Run* last = batch.runs.size() > begin ? &batch.runs.back() : nullptr;
    const bool joins = last != nullptr && last->by_layer == nullptr && last->adapter == adapter &&
                       last->row_end == run.row_begin && last->weight == weight && last->top_k == top_k;
    if (joins) {
      last->row_end = run.row_end;
    } else {
      batch.runs.push_back(run);
    }
  }
  if (pass > 0 && batch.runs.size() > begin) batch.pass_begin.push_back(static_cast<int32_t>(begin));
}

}  // namespace

void Preempt(TestSequence& sequence) {
  sequence.computed = 0;
  sequence.blocks.clear();
}

std::vector<std::vector<float>> RunStep(Transformer& model, BlockPool& pool, std::span<const Chunk> chunks,
                                        bool record_gates) {
  Batch batch;
  for (const Chunk& chunk : chunks) AddRows(chunk, model.limits().block_size, pool, batch);
  size_t passes = 1;
  for (const Chunk& chunk : chunks) passes = std::max(passes, 1 + chunk.sequence->more.size());
  for (size_t pass = 0; pass < passes; ++pass) AddPass(chunks, pass, batch);
  for (size_t i = 0; record_gates && i < batch.runs.size(); ++i)
    batch.runs[i].gates = static_cast<int32_t>(i);
  model.Forward(batch);
  std::vector<std::vector<float>> logits;
  for (int row = 0; row < batch.rows(); ++row) {
    const std::span<const float> values = model.Logits(row);
    logits.emplace_back(values.begin(), values.end());
  }
  return logits;
}

}  // namespace hydrad
