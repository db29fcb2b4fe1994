// A model whose tokens betray every mistake of a scheduler.
#ifndef HYDRAD_TESTS_FAKES_FAKE_MODEL_H_
#define HYDRAD_TESTS_FAKES_FAKE_MODEL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/sampling.h"
#include "server/backend/backend.h"
#include "server/base/check.h"
#include "server/model/step_record.h"

namespace hydrad {

// Where all fake adapters and their routers have their slots.
inline DeviceAdapters& FakeDeviceAdapters() {
  static auto* const held = new DeviceAdapters;
  return *held;
}

// An adapter that only changes the hash. Counts its live instances in `*live` if given.
class FakeAdapter final : public DeviceAdapter {
 public:
  // `experts`: of its one router, in layer 0; 0: it has none.
  explicit FakeAdapter(uint64_t salt, std::atomic<int>* live = nullptr, int experts = 0)
      : salt_(salt), live_(live) {
    if (experts > 0) places_.push_back({0, Projection::kQ, 0, experts});
    if (live_ != nullptr) ++*live_;
    FakeDeviceAdapters().Add(*this);
  }
  ~FakeAdapter() override {
    if (live_ != nullptr) --*live_;
  }
  size_t bytes() const override { return 1; }
  std::span<const GatePlace> gate_places() const override { return places_; }
  uint64_t salt() const { return salt_; }

 private:
  const uint64_t salt_;
  std::atomic<int>* live_;
  std::vector<GatePlace> places_;
};

// Each slot of the cache holds a hash of the token, its position, its adapter and everything that attention
// sees before it through the block table; logits are a hash of all that the row sees. So a wrong slot,
// position, table, adapter or order gives other tokens. Checks the contract of Batch and of ModelLimits
// besides.
class FakeModel final : public Model {
 public:
  static constexpr int kLayers = 3;

  struct Options {
    ModelLimits limits{
        .max_rows = 64, .max_logit_rows = 16, .max_context = 128, .block_size = 4, .kv_blocks = 256};
    int vocab_size = 32;
    std::vector<int32_t> eos;
    // Never drawn; a sequence that has it in its prompt gets NaN for logits.
    int32_t poison = -1;
    // Drawn rarely: `rare_margin` below the others.
    std::vector<int32_t> rare;
    float rare_margin = 3;
    // Runs a step when it is waited for, and sees if its batch has been touched meanwhile.
    bool asynchronous = false;
  };

  explicit FakeModel(Options options) : options_(std::move(options)) {
    config_.vocab_size = options_.vocab_size;
    config_.max_positions = options_.limits.max_context;
    config_.num_layers = kLayers;
    config_.eos_tokens = options_.eos;
    kv_.resize(static_cast<size_t>(options_.limits.kv_blocks) * options_.limits.block_size);
    writer_.resize(options_.limits.kv_blocks);
  }

  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return options_.limits; }

  // Called at the start of every step.
  std::function<void(const Batch&)> on_forward;
  // What Wait says of each step, if it is set; of one that failed the cache is overwritten.
  std::function<absl::Status()> on_wait;

  bool asynchronous() const override { return options_.asynchronous; }
  void Prepare(const Batch& batch) override {
    HYDRAD_CHECK(options_.asynchronous && in_flight_ && &batch != launched_batch_);
    CheckShape(batch);
    prepared_batch_ = &batch;
    prepared_ = WithoutTokens(batch);
  }

  Step Launch(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) override {
    HYDRAD_CHECK(!in_flight_);
    in_flight_ = true;
    if (std::exchange(prepared_batch_, nullptr) == &batch) {
      HYDRAD_CHECK(WithoutTokens(batch) == prepared_);
      ++steps_prepared_;
    }
    if (options_.asynchronous) {
      launched_batch_ = &batch;
      launched_ = EncodeStep(batch, draws, scores);
    } else {
      Run(batch, draws, scores);
    }
    return Step(*this);
  }

  int64_t steps() const { return steps_; }
  int64_t steps_prepared() const { return steps_prepared_; }  // of those
  int64_t rows_run() const { return rows_run_; }

 protected:
  absl::StatusOr<StepResult> Finish() override {
    HYDRAD_CHECK(in_flight_);
    if (options_.asynchronous) RunLaunched();
    in_flight_ = false;
    if (const absl::Status status = on_wait ? on_wait() : absl::OkStatus(); !status.ok()) return status;
    return StepResult{.sampled = sampled_, .scores = scores_, .gates = gate_views_, .routes = routes_};
  }

 private:
  static std::string WithoutTokens(Batch batch) {
    std::ranges::fill(batch.tokens, 0);
    return EncodeStep(batch, {}, {});
  }

  void RunLaunched() {
    const RecordedStep step = *DecodeStep(launched_);
    HYDRAD_CHECK(EncodeStep(*launched_batch_, {}, {}) == EncodeStep(step.batch, {}, {}));
    launched_batch_ = nullptr;
    std::vector<Draw> draws;
    for (const RecordedDraw& draw : step.draws) draws.push_back(draw.View());
    Run(step.batch, draws, step.scores);
  }

  void Run(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) {
    Forward(batch);
    gates_.clear();
    for (const Batch::Run& run : batch.runs) {
      if (run.gates >= 0) gates_.push_back(Gates(run));
    }
    gate_views_.assign(gates_.begin(), gates_.end());
    routes_ = Routes(batch);
    scores_.clear();
    for (const ScoreRow& score : scores) {
      scores_.push_back(hydrad::Score(Logits(score.index), score.token, score.top));
    }
    sampled_.clear();
    for (size_t i = 0; i < draws.size(); ++i) {
      HYDRAD_CHECK(i == 0 || draws[i - 1].index < draws[i].index);
      std::vector<float> logits = Logits(draws[i].index);
      sampled_.push_back(hydrad::Sample(logits, draws[i].row));
    }
  }

  void Forward(const Batch& batch) {
    if (on_forward) on_forward(batch);
    CheckShape(batch);
    MarkWriters(batch);
    rows_.assign(batch.rows(), Cell{});
    sums_ = batch.probe_sums;
    picks_.assign(batch.probes.size(), {});
    for (size_t i = 0; i < batch.probes.size(); ++i) RunProbe(batch, i);
    for (size_t s = 0; s < batch.segments.size(); ++s) RunSegment(batch, static_cast<int>(s));
    logit_rows_ = batch.logit_rows;
    ++steps_;
    rows_run_ += batch.rows();
  }

  // The row's own expert, GateOf, has a weight of 3/4; the others share the rest.
  std::vector<float> Gates(const Batch::Run& run) const {
    std::vector<float> gates;
    const int experts = FakeDeviceAdapters().adapter(run.adapter).gate_count();
    for (int row = run.row_begin; row < run.row_end; ++row) {
      const int most = static_cast<int>(rows_[row].hash % static_cast<uint64_t>(experts));
      for (int e = 0; e < experts; ++e)
        gates.push_back(e == most ? 0.75f : 0.25f / static_cast<float>(experts - 1));
    }
    return gates;
  }

  struct Cell {
    uint64_t hash = 0;
    bool poisoned = false;
  };

  static uint64_t Mix(uint64_t a, uint64_t b) {  // splitmix64's finaliser
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2))) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }

  void CheckShape(const Batch& batch) const {
    const ModelLimits& limits = options_.limits;
    HYDRAD_CHECK(batch.rows() > 0 && batch.rows() <= limits.max_rows);
    HYDRAD_CHECK(batch.positions.size() == batch.tokens.size() && batch.slots.size() == batch.tokens.size());
    HYDRAD_CHECK(static_cast<int>(batch.logit_rows.size()) <= limits.max_logit_rows);
    for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
      HYDRAD_CHECK(batch.logit_rows[i] < batch.rows());
      HYDRAD_CHECK(i == 0 || batch.logit_rows[i - 1] < batch.logit_rows[i]);
    }
    for (size_t term = 0; term < batch.terms(); ++term) {
      CheckTerm(batch.term(term), batch.rows(), batch.terms() > 1);
    }
  }

  // One run per generation and way of using it, unless what it is composed with stands between, or rows that
  // come before an invocation.
  static void CheckTerm(std::span<const Batch::Run> runs, int rows, bool composed) {
    using Use = std::tuple<int32_t, float, int>;
    std::set<Use> uses;
    Use last{-1, 0, 0};
    int end = 0;
    for (const Batch::Run& run : runs) {
      FakeDeviceAdapters().adapter(run.adapter);  // is there
      HYDRAD_CHECK(run.row_begin >= end && run.row_end > run.row_begin);
      const Use use(run.adapter, run.weight, run.top_k);
      if (run.one_for_all_layers()) {
        const bool goes_on = use == last && run.row_begin > end;
        HYDRAD_CHECK(uses.insert(use).second || goes_on || composed);
      }
      last = run.one_for_all_layers() ? use : Use{-1, 0, 0};
      end = run.row_end;
    }
    HYDRAD_CHECK(end <= rows);
  }

  // Of all adapters of a segment's row, in the order of the terms, and how they are used.
  uint64_t SaltOf(const Batch& batch, const Batch::Segment& segment, int row) const {
    uint64_t salt = 0;
    for (size_t term = 0; term < batch.terms(); ++term) {
      for (const Batch::Run& run : batch.term(term)) {
        if (run.row_end <= row || run.row_begin > row) continue;
        HYDRAD_CHECK(segment.row_end <= run.row_end);
        const uint64_t use = std::bit_cast<uint32_t>(run.weight) + static_cast<uint64_t>(run.top_k);
        salt = Mix(salt, Mix(SaltOf(batch, run), use));
      }
    }
    return salt;
  }

  // What an adapter per layer does to the hash depends on each of them and on its layer.
  uint64_t SaltOf(const Batch& batch, const Batch::Run& run) const {
    if (run.one_for_all_layers()) return SaltOf(run.adapter);
    uint64_t salt = 1;
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      if (run.by_layer >= 0) {
        salt = Mix(salt, SaltOf(batch.layer_adapters[run.by_layer + layer]));
      } else {
        const Router& router = FakeDeviceAdapters().router(batch.probes[run.decided_by].router);
        salt = Mix(salt, SaltOf(router.experts[picks_[run.decided_by][layer]]->slot()));
      }
    }
    return salt;
  }
  static uint64_t SaltOf(int32_t slot) {
    return static_cast<const FakeAdapter&>(FakeDeviceAdapters().adapter(slot)).salt();
  }

  // A router sees the token, its position, its layer, and what the layers below it were adapted by.
  void RunProbe(const Batch& batch, size_t index) {
    const Batch::Probe& probe = batch.probes[index];
    const Router& router = FakeDeviceAdapters().router(probe.router);
    const int choices = router.choices();
    HYDRAD_CHECK(probe.row_begin < probe.row_end && probe.row_end <= batch.rows());
    HYDRAD_CHECK(router.layers == config_.num_layers && choices > 0);
    uint64_t below = 0;
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      double* sums = sums_.data() + probe.sums_begin + static_cast<size_t>(layer) * choices;
      for (int row = probe.row_begin; row < probe.row_end; ++row) {
        const uint64_t seen = Mix(Mix(batch.tokens[row], batch.positions[row]), Mix(layer, below));
        for (int c = 0; c < choices; ++c) sums[c] += static_cast<double>(Mix(seen, c) >> 32);
      }
      if (!probe.decides) continue;
      picks_[index].push_back(router.Pick(layer, sums, probe.pooled));
      below = Mix(below, picks_[index].back());
    }
  }
  std::vector<Routed> Routes(const Batch& batch) const {
    std::vector<Routed> routes;
    for (size_t i = 0; i < batch.probes.size(); ++i) {
      const Router& router = FakeDeviceAdapters().router(batch.probes[i].router);
      const auto size = static_cast<size_t>(router.layers) * router.choices();
      routes.push_back({std::span(sums_).subspan(batch.probes[i].sums_begin, size), picks_[i]});
    }
    return routes;
  }

  // A block that one sequence writes in this step is in no other's table.
  void MarkWriters(const Batch& batch) {
    std::fill(writer_.begin(), writer_.end(), -1);
    const auto each_row = [&](auto visit) {
      for (size_t s = 0; s < batch.segments.size(); ++s) {
        for (int r = batch.segments[s].row_begin; r < batch.segments[s].row_end; ++r)
          visit(static_cast<int>(s), r);
      }
    };
    each_row([&](int s, int r) {
      int& writer = writer_[batch.slots[r] / options_.limits.block_size];
      HYDRAD_CHECK(writer == -1 || writer == s);
      writer = s;
    });
  }

  void RunSegment(const Batch& batch, int s) {
    const Batch::Segment& segment = batch.segments[s];
    const int block_size = options_.limits.block_size;
    HYDRAD_CHECK(segment.row_begin == (s == 0 ? 0 : batch.segments[s - 1].row_end));
    HYDRAD_CHECK(segment.row_end > segment.row_begin && segment.row_end <= batch.rows());
    const int end = segment.first_position + segment.row_end - segment.row_begin;
    HYDRAD_CHECK(end <= options_.limits.max_context);
    Cell seen;
    for (int p = 0; p < end; ++p) {
      const int block = batch.block_tables[segment.table_begin + p / block_size];
      HYDRAD_CHECK(writer_[block] == -1 || writer_[block] == s);
      Cell& cell = kv_[static_cast<size_t>(block) * block_size + p % block_size];
      const int row = segment.row_begin + p - segment.first_position;
      const uint64_t salt = p >= segment.first_position ? SaltOf(batch, segment, row) : 0;
      if (p >= segment.first_position) {
        HYDRAD_CHECK(batch.positions[row] == p);
        HYDRAD_CHECK(batch.slots[row] == block * block_size + p % block_size);
        const int32_t token = batch.tokens[row];
        HYDRAD_CHECK(token >= 0 && token < options_.vocab_size);
        cell.hash = Mix(Mix(Mix(seen.hash, salt), static_cast<uint64_t>(token)), static_cast<uint64_t>(p));
        cell.poisoned = token == options_.poison;
      }
      seen.hash = Mix(seen.hash, cell.hash);
      seen.poisoned |= cell.poisoned;
      if (p >= segment.first_position) rows_[row] = {Mix(seen.hash, salt), seen.poisoned};
    }
  }

  std::vector<float> Logits(int index) const {
    const Cell& row = rows_[logit_rows_[index]];
    std::vector<float> logits(options_.vocab_size);
    for (int v = 0; v < options_.vocab_size; ++v) {
      logits[v] = static_cast<float>(Mix(row.hash, static_cast<uint64_t>(v)) >> 40) / (1 << 22);  // [0, 4)
    }
    for (const int32_t token : options_.rare) logits[token] -= options_.rare_margin;
    if (options_.poison >= 0) logits[options_.poison] = -std::numeric_limits<float>::infinity();
    if (row.poisoned) logits.assign(logits.size(), std::numeric_limits<float>::quiet_NaN());
    return logits;
  }

  const Options options_;
  ModelConfig config_;
  std::vector<Cell> kv_;     // [kv_blocks * block_size]
  std::vector<int> writer_;  // [kv_blocks] the segment that writes it in this step, or -1
  std::vector<Cell> rows_;   // [rows] of the last step
  std::vector<int32_t> logit_rows_;
  bool in_flight_ = false;
  const Batch* launched_batch_ = nullptr;  // null but while an asynchronous step runs, which is `launched_`
  const Batch* prepared_batch_ = nullptr;  // null: none
  std::string launched_, prepared_;
  std::vector<Sampled> sampled_, scores_;
  std::vector<std::vector<float>> gates_;
  std::vector<std::span<const float>> gate_views_;
  std::vector<double> sums_;                 // of the probes
  std::vector<std::vector<int32_t>> picks_;  // [probes][layers]
  std::vector<Routed> routes_;
  int64_t steps_ = 0, steps_prepared_ = 0, rows_run_ = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_MODEL_H_
