// The part of StepTables that adapters of the embedding and of lm_head need.
#include <algorithm>

#include "server/backend/cuda/step_tables.h"

namespace hydrad {
namespace {

size_t Padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

bool Changes(const DeviceEnds& ends) {
  return ends.embeds() || ends.head.count > 0 || ends.head_lora != nullptr;
}

// The logit rows among the rows of a run.
struct LogitRows {
  int32_t begin, end;
};
LogitRows LogitRowsOf(const Batch& batch, const Batch::Run& run) {
  const auto index = [&](int row) {
    return static_cast<int32_t>(std::ranges::lower_bound(batch.logit_rows, row) - batch.logit_rows.begin());
  };
  return {index(run.row_begin), index(run.row_end)};
}

}  // namespace

// What the run's adapter changes at the ends. The experts of a mixture change nothing there.
DeviceEnds StepTables::EndsOf(const Batch::Run& run) const {
  return run.one_for_all_layers() ? AdapterOf(run).ends() : DeviceEnds{};
}

size_t StepTables::EndsBytes(const Batch& batch) const {
  if (std::ranges::none_of(batch.runs, [this](const auto& run) { return Changes(EndsOf(run)); })) return 0;
  size_t bytes = 2 * Padded(batch.runs.size() * sizeof(cuda::VocabularyRun));
  for (size_t term = 0; term < batch.terms(); ++term)
    bytes += LoraBytes(batch.term(term).size(), batch.rows());
  return bytes;
}

void StepTables::WriteEnds(const Batch& batch) {
  ends_ = {};
  head_begin_.clear();
  if (EndsBytes(batch) == 0) return;
  WriteVocabulary(batch);
  WriteHeadLora(batch);
}

void StepTables::WriteVocabulary(const Batch& batch) {
  std::vector<cuda::VocabularyRun> embedding, head;
  for (const Batch::Run& run : batch.runs) {
    const DeviceEnds ends = EndsOf(run);
    if (ends.embeds()) {
      cuda::VocabularyRun& made = embedding.emplace_back(ends.embedding);
      made.row_begin = run.row_begin, made.row_end = run.row_end;
      made.scale *= run.weight;
      made.weight = run.weight;
    }
    const LogitRows rows = LogitRowsOf(batch, run);
    if (ends.head.count > 0 && rows.begin < rows.end) {
      head.push_back({.row_begin = rows.begin, .row_end = rows.end, .own = ends.head});
    }
  }
  ends_.embedding = !embedding.empty();
  ends_.own_logits = !head.empty();
  const cuda::VocabularyPlan plan = {.embedding = Put(std::span<const cuda::VocabularyRun>(embedding)),
                                     .head = Put(std::span<const cuda::VocabularyRun>(head)),
                                     .embedding_count = static_cast<int32_t>(embedding.size()),
                                     .head_count = static_cast<int32_t>(head.size())};
  PutAt(VocabularyPlace(), std::span<const cuda::VocabularyPlan>(&plan, 1));
}

void StepTables::WriteHeadLora(const Batch& batch) {
  for (size_t term = 0; term < batch.terms(); ++term) {
    cuda::LoraPlan plan{};
    runs_.clear();
    for (const Batch::Run& run : batch.term(term)) {
      const DeviceEnds ends = EndsOf(run);
      const LogitRows rows = LogitRowsOf(batch, run);
      if (ends.head_lora == nullptr || rows.begin == rows.end) continue;
      plan.down_rows[0] = std::max<int32_t>(plan.down_rows[0], ends.head_down_rows);
      runs_.push_back({.row_begin = rows.begin,
                       .row_end = rows.end,
                       .groups = ends.head_lora,
                       .by_layer = nullptr,
                       .weight = run.weight,
                       .top_k = run.top_k,
                       .gates = nullptr,
                       .gates_stride = 0});
    }
    if (runs_.empty()) continue;
    head_begin_.push_back(PutLora(plan, runs_, batch.rows(), head_begin_.empty() ? HeadPlace() : 0));
  }
  ends_.head_lora = !head_begin_.empty();
}

}  // namespace hydrad
