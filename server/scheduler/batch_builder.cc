#include "server/scheduler/batch_builder.h"

#include <algorithm>
#include <tuple>

#include "server/base/check.h"

namespace hydrad {
namespace {

// Whether the second run, whose rows follow the first one's, may be part of it.
bool UsesAlike(const Batch::Run& a, const Batch::Run& b) {
  return a.one_for_all_layers() && b.one_for_all_layers() && a.row_end == b.row_begin &&
         a.adapter == b.adapter && a.weight == b.weight && a.top_k == b.top_k;
}

}  // namespace

void BatchBuilder::Build(std::span<Part> parts) {
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.slots.clear();
  batch_.segments.clear();
  batch_.block_tables.clear();
  batch_.runs.clear();
  batch_.term_begin.clear();
  batch_.layer_adapters.clear();
  batch_.probes.clear();
  batch_.probe_sums.clear();
  batch_.logit_rows.clear();
  logit_uses_.clear();
  gate_uses_.clear();
  probed_.clear();
  records_ = 0;
  std::ranges::sort(parts, {}, [](const Part& part) {
    const Request& request = part.sequence->request();
    return std::tuple(part.adapter_order, part.sequence->adapted_by().order, request.adapters(),
                      request.adapter_top_k, request.adapter_weight, part.sequence->id());
  });
  size_t terms = 0;
  for (const Part& part : parts) {
    Add(part);
    terms = std::max(terms, part.sequence->request().adapters());
  }
  for (size_t term = 0; term < terms; ++term) AddTerm(parts, term);
  CountAdapters();
}

void BatchBuilder::Add(const Part& part) {
  Sequence& sequence = *part.sequence;
  const int first = batch_.rows(), position = sequence.computed() + part.ahead;
  batch_.segments.push_back({.row_begin = first,
                             .row_end = first + part.rows,
                             .first_position = position,
                             .table_begin = static_cast<int32_t>(batch_.block_tables.size())});
  AddRows(sequence, position, position + part.rows);
  if (sequence.AddProbe(part.rows, first, &batch_)) probed_.push_back(&sequence);
  const int last = sequence.length() - 1;
  for (int p = std::max(position, sequence.first_logit()); p < position + part.rows; ++p) {
    batch_.logit_rows.push_back(first + p - position);
    logit_uses_.push_back({&sequence, p, p >= last});
  }
}

void BatchBuilder::PutDrawnTokens() {
  for (size_t i = 0; i < logit_uses_.size(); ++i) {
    const auto row = static_cast<size_t>(batch_.logit_rows[i]);
    batch_.tokens[row] = logit_uses_[i].sequence->token(logit_uses_[i].position);
  }
}

void BatchBuilder::AddRows(const Sequence& sequence, int begin, int end) {
  const auto blocks = sequence.blocks();
  for (int position = begin; position < end; ++position) {
    batch_.tokens.push_back(position < sequence.length() ? sequence.token(position) : 0);
    batch_.positions.push_back(position);
    batch_.slots.push_back(blocks[position / block_size_] * block_size_ + position % block_size_);
  }
  const int table = (end + block_size_ - 1) / block_size_;
  batch_.block_tables.insert(batch_.block_tables.end(), blocks.begin(), blocks.begin() + table);
}

void BatchBuilder::CountAdapters() {
  adapters_.clear();
  for (const Batch::Run& run : batch_.runs) adapters_.push_back(run.adapter);
  std::ranges::sort(adapters_);
  distinct_adapters_ = static_cast<int>(std::unique(adapters_.begin(), adapters_.end()) - adapters_.begin());
}

void BatchBuilder::AddTerm(std::span<const Part> parts, size_t term) {
  auto& runs = batch_.runs;
  const size_t begin = runs.size();
  for (size_t i = 0; i < parts.size(); ++i) {
    const Request& request = parts[i].sequence->request();
    const AdaptedBy by = parts[i].sequence->adapted_by(term);
    if (by.adapter == nullptr) continue;
    const Batch::Segment& segment = batch_.segments[i];
    const int changes_from = term == 0 ? parts[i].sequence->adapter_begin() : 0;  // no sum has an aLoRA
    const int plain = std::clamp(changes_from - segment.first_position, 0, parts[i].rows);
    if (plain == parts[i].rows) continue;
    Batch::Run run = MakeRun(by, segment.row_begin + plain, segment.row_end);
    run.weight = request.weight_at(term);
    run.top_k = request.adapter_top_k;
    const bool joins = runs.size() > begin && UsesAlike(runs.back(), run);
    if (joins) {
      runs.back().row_end = run.row_end;
    } else {
      if (by.adapter->gate_count() > 0) run.gates = records_++;
      runs.push_back(run);
    }
    if (runs.back().gates < 0) continue;
    gate_uses_.push_back({parts[i].sequence, term, runs.back().gates,
                          segment.row_begin - runs.back().row_begin, parts[i].rows, segment.first_position});
  }
  if (term > 0 && runs.size() > begin) batch_.term_begin.push_back(static_cast<int32_t>(begin));
}

Batch::Run BatchBuilder::MakeRun(const AdaptedBy& by, int32_t row_begin, int32_t row_end) {
  Batch::Run run{.row_begin = row_begin, .row_end = row_end, .adapter = by.adapter->slot()};
  if (!by.by_layer.empty()) {
    run.by_layer = static_cast<int32_t>(batch_.layer_adapters.size());
    batch_.layer_adapters.insert(batch_.layer_adapters.end(), by.by_layer.begin(), by.by_layer.end());
  }
  if (by.decided_by_probe) {
    const auto probe = std::ranges::find_if(batch_.probes, [&](const Batch::Probe& p) {
      return p.decides && row_begin <= p.row_begin && p.row_end <= row_end;
    });
    HYDRAD_CHECK(probe != batch_.probes.end());
    run.decided_by = static_cast<int32_t>(probe - batch_.probes.begin());
  }
  return run;
}

}  // namespace hydrad
