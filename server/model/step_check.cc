// CheckStep of step_record.h.
#include <algorithm>
#include <cstdint>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/model/step_record.h"

namespace hydrad {
namespace {

bool Within(std::span<const int32_t> values, int64_t end) {
  return std::ranges::all_of(values, [=](int32_t v) { return v >= 0 && v < end; });
}

// [begin, begin + count) of an array of `size`.
bool Fits(int64_t begin, int64_t count, size_t size) {
  return begin >= 0 && count >= 0 && begin + count <= static_cast<int64_t>(size);
}

class Checker {
 public:
  Checker(const RecordedStep& step, const ModelConfig& config, const ModelLimits& limits,
          const DeviceAdapters& held)
      : step_(step), batch_(step.batch), config_(config), limits_(limits), held_(held) {}

  absl::Status Check() const {
    RETURN_IF_ERROR(CheckRows());
    RETURN_IF_ERROR(CheckSegments());
    for (const Batch::Probe& probe : batch_.probes) RETURN_IF_ERROR(CheckProbe(probe));
    RETURN_IF_ERROR(CheckRuns());
    return CheckLogits();
  }

 private:
  absl::Status CheckRows() const;
  absl::Status CheckSegments() const;
  absl::Status CheckProbe(const Batch::Probe& probe) const;
  absl::Status CheckRun(const Batch::Run& run) const;
  absl::Status CheckRuns() const;
  absl::Status CheckTerm(std::span<const Batch::Run> runs) const;
  absl::Status CheckLogits() const;
  absl::Status CheckParams(const RecordedDraw& draw) const;

  const RecordedStep& step_;
  const Batch& batch_;
  const ModelConfig& config_;
  const ModelLimits& limits_;
  const DeviceAdapters& held_;
};

absl::Status Checker::CheckRows() const {
  const size_t rows = batch_.tokens.size();
  if (rows == 0 || rows > static_cast<size_t>(limits_.max_rows))
    return InvalidArgument("{} rows are not within 1 to {}", rows, limits_.max_rows);
  if (batch_.positions.size() != rows || batch_.slots.size() != rows)
    return InvalidArgument("not every row has a position and a slot");
  if (std::ranges::any_of(batch_.runs, [&](const auto& run) {
        return run.row_begin < 0 || run.row_end < run.row_begin || run.row_end > batch_.rows();
      })) {
    return InvalidArgument("a run has rows that are not there");
  }
  if (!KnowsTokens(held_, batch_, config_.vocab_size))
    return InvalidArgument("a token is not in the vocabulary");
  if (!Within(batch_.positions, limits_.max_context))
    return InvalidArgument("a position is beyond the context");
  if (!Within(batch_.slots, int64_t{limits_.kv_blocks} * limits_.block_size) ||
      !Within(batch_.block_tables, limits_.kv_blocks))
    return InvalidArgument("a block is not in the cache");
  return absl::OkStatus();
}

absl::Status Checker::CheckSegments() const {
  int32_t end = 0;
  for (const Batch::Segment& s : batch_.segments) {
    if (s.row_begin != end || s.row_end <= s.row_begin || s.row_end > batch_.rows())
      return InvalidArgument("the segments are not one behind the other");
    end = s.row_end;
    const int64_t positions = int64_t{s.first_position} + s.row_end - s.row_begin;
    const int64_t blocks = (positions + limits_.block_size - 1) / limits_.block_size;
    if (s.first_position < 0 || positions > limits_.max_context ||
        !Fits(s.table_begin, blocks, batch_.block_tables.size()))
      return InvalidArgument("a segment is longer than its block table");
  }
  if (end != batch_.rows()) return InvalidArgument("rows behind the last segment");
  return absl::OkStatus();
}

absl::Status Checker::CheckProbe(const Batch::Probe& probe) const {
  const Router* router = held_.FindRouter(probe.router);
  if (router == nullptr) return InvalidArgument("router slot {} holds nothing", probe.router);
  const int64_t sums = int64_t{router->layers} * router->choices();
  if (router->layers != config_.num_layers || !Fits(probe.sums_begin, sums, batch_.probe_sums.size()))
    return InvalidArgument("the sums of a probe are not there");
  if (probe.row_begin < 0 || probe.row_end <= probe.row_begin || probe.row_end > batch_.rows() ||
      probe.pooled < 1)
    return InvalidArgument("the rows of a probe are not there");
  const auto index = static_cast<int32_t>(&probe - batch_.probes.data());
  const auto decided = std::ranges::count(batch_.runs, index, &Batch::Run::decided_by);
  if (decided != (probe.decides ? 1 : 0)) return InvalidArgument("a probe must decide one run, or none");
  return absl::OkStatus();
}

absl::Status Checker::CheckRun(const Batch::Run& run) const {
  if (held_.FindAdapter(run.adapter) == nullptr)
    return InvalidArgument("adapter slot {} holds nothing", run.adapter);
  if (run.by_layer >= 0 && !Fits(run.by_layer, config_.num_layers, batch_.layer_adapters.size()))
    return InvalidArgument("the layers' adapters of a run are not there");
  if (run.decided_by >= static_cast<int64_t>(batch_.probes.size()) ||
      (run.by_layer >= 0 && run.decided_by >= 0) || run.top_k < 0)
    return InvalidArgument("a run is decided by no probe, or twice");
  return absl::OkStatus();
}

absl::Status Checker::CheckRuns() const {
  int32_t records = 0, begin = 0;
  for (const Batch::Run& run : batch_.runs) {
    RETURN_IF_ERROR(CheckRun(run));
    if (run.gates >= 0 && run.gates != records++) return InvalidArgument("gate records are not in order");
  }
  for (const int32_t slot : batch_.layer_adapters) {
    if (held_.FindAdapter(slot) == nullptr) return InvalidArgument("adapter slot {} holds nothing", slot);
  }
  for (const int32_t term : batch_.term_begin) {
    if (term < begin || term >= static_cast<int64_t>(batch_.runs.size()))
      return InvalidArgument("the terms are not one behind the other");
    begin = term;
  }
  for (size_t term = 0; term < batch_.terms(); ++term) RETURN_IF_ERROR(CheckTerm(batch_.term(term)));
  return absl::OkStatus();
}

absl::Status Checker::CheckTerm(std::span<const Batch::Run> runs) const {
  int32_t end = 0;
  for (const Batch::Run& run : runs) {
    if (run.row_begin < end || run.row_end <= run.row_begin || run.row_end > batch_.rows())
      return InvalidArgument("the runs of a term do not ascend within the rows");
    end = run.row_end;
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckLogits() const {
  const auto& rows = batch_.logit_rows;
  if (rows.size() > static_cast<size_t>(limits_.max_logit_rows) || !Within(rows, batch_.rows()) ||
      std::ranges::adjacent_find(rows, std::greater_equal()) != rows.end())
    return InvalidArgument("the logit rows do not ascend within the limits");
  std::vector<int> uses(rows.size());
  int32_t last = -1;
  for (const RecordedDraw& draw : step_.draws) {
    if (draw.index <= last || draw.index >= static_cast<int64_t>(rows.size()) || uses[draw.index]++ > 0)
      return InvalidArgument("the draws do not ascend within the logit rows");
    last = draw.index;
    RETURN_IF_ERROR(CheckParams(draw));
  }
  last = -1;
  for (const ScoreRow& score : step_.scores) {
    if (score.index <= last || score.index >= static_cast<int64_t>(rows.size()) || uses[score.index]++ > 0 ||
        score.top > config_.vocab_size)
      return InvalidArgument("the scores do not ascend within the logit rows");
    last = score.index;
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckParams(const RecordedDraw& draw) const {
  const SamplingParams& p = draw.params;
  const bool ranges = p.temperature >= 0 && p.top_p > 0 && p.top_p <= 1 && p.top_k >= 0 && p.min_p >= 0 &&
                      p.min_p <= 1 && p.repetition_penalty > 0 && draw.top_logprobs <= config_.vocab_size;
  bool known = Within(draw.prompt, config_.vocab_size) && Within(draw.generated, config_.vocab_size) &&
               Within(draw.banned, config_.vocab_size);
  for (const SamplingParams::Bias& bias : p.logit_bias) {
    known = known && bias.token >= 0 && bias.token < config_.vocab_size;
  }
  const bool masks = draw.allowed.empty() || draw.allowed.size() == MaskWords(config_.vocab_size);
  if (!ranges || !known || !masks) return InvalidArgument("what a draw asks for is out of range");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStep(const RecordedStep& step, const ModelConfig& config, const ModelLimits& limits,
                       const DeviceAdapters& held) {
  return Checker(step, config, limits, held).Check();
}

}  // namespace hydrad
