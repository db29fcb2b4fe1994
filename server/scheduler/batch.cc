#include "server/scheduler/batch.h"

#include <algorithm>

namespace hydrad {

void BatchBuilder::Build(std::span<Part> parts) {
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.slots.clear();
  batch_.segments.clear();
  batch_.block_tables.clear();
  batch_.runs.clear();
  batch_.logit_rows.clear();
  logit_uses_.clear();
  std::ranges::sort(parts, [](const Part& a, const Part& b) {
    return a.adapter_order != b.adapter_order ? a.adapter_order < b.adapter_order
                                              : a.sequence->id() < b.sequence->id();
  });
  for (const Part& part : parts) Add(part);
  distinct_adapters_ = static_cast<int>(batch_.runs.size());
}

void BatchBuilder::Add(const Part& part) {
  Sequence& sequence = *part.sequence;
  const int first = batch_.rows(), position = sequence.computed();
  batch_.segments.push_back({.row_begin = first,
                             .row_end = first + part.rows,
                             .first_position = position,
                             .table_begin = static_cast<int32_t>(batch_.block_tables.size())});
  AddRows(sequence, part.rows);
  AddRun(first, first + part.rows, sequence.request().adapter.device());
  const int last = sequence.length() - 1;
  for (int p = std::max(position, sequence.first_logit()); p < position + part.rows; ++p) {
    batch_.logit_rows.push_back(first + p - position);
    logit_uses_.push_back({&sequence, p, p == last});
  }
}

void BatchBuilder::AddRows(const Sequence& sequence, int rows) {
  const int begin = sequence.computed(), end = begin + rows;
  const auto blocks = sequence.blocks();
  for (int position = begin; position < end; ++position) {
    batch_.tokens.push_back(sequence.token(position));
    batch_.positions.push_back(position);
    batch_.slots.push_back(blocks[position / block_size_]->id() * block_size_ + position % block_size_);
  }
  const int table = (end + block_size_ - 1) / block_size_;
  for (int i = 0; i < table; ++i) batch_.block_tables.push_back(blocks[i]->id());
}

void BatchBuilder::AddRun(int row_begin, int row_end, const DeviceAdapter* adapter) {
  if (adapter == nullptr) return;
  auto& runs = batch_.runs;
  if (!runs.empty() && runs.back().adapter == adapter) {
    runs.back().row_end = row_end;
  } else {
    runs.push_back({row_begin, row_end, adapter});
  }
}

}  // namespace hydrad
