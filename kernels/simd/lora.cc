// The low-rank change in stages over all runs of the batch: shrink (u = D x), gates (z from u), the A that
// rows have picked by their gates, expand (y += U^T z). Each stage is cut into units (lora_plan.h), numbered
// in batch order; a task takes consecutive units, and while it computes one it prefetches the weights of the
// next, most often those of the next adapter: adapters are read once a step, so their bytes set the pace.
//
// Where a gate picks, the rows of a tile are grouped by (generation, expert), and the experts are added one
// after the other in ascending order, so a row's sum does not depend on what its neighbours picked.
#include "kernels/lora.h"

#include <algorithm>

#include "kernels/simd/by_isa.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/lora_gates.h"
#include "kernels/simd/lora_plan.h"
#include "kernels/simd/pool.h"

namespace hydrad {

template <class T>
size_t LoraScratchBytes(std::span<const LoraRun<T>> runs) {
  size_t bytes = simd::Align64(sizeof(simd::RunPlan) * (runs.size() + 1));
  for (const LoraRun<T>& run : runs) {
    const int width = simd::Pad(run.group->down_rows) + simd::Pad(simd::Coefficients(*run.group));
    bytes += sizeof(float) * simd::Rows(run) * width;
  }
  return bytes;
}
template size_t LoraScratchBytes<bf16>(std::span<const LoraRun<bf16>>);
template size_t LoraScratchBytes<float>(std::span<const LoraRun<float>>);

namespace simd {
namespace {

void Dot(const Table& t, const DotsCall<bf16>& c) { t.dots_bf16(c); }
void Dot(const Table& t, const DotsCall<float>& c) { t.dots_f32(c); }
void Expand(const Table& t, const ExpandCall<bf16>& c) { t.expand_bf16(c); }
void Expand(const Table& t, const ExpandCall<float>& c) { t.expand_f32(c); }

// The rows of a tile that give an expert a weight.
struct Pickers {
  TileRows rows() const { return {count, list}; }
  int count = 0;
  int32_t list[kTileRows];
};

// One AddLora.
template <class T>
class Step {
 public:
  Step(const Table& table, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
       std::span<std::byte> scratch)
      : table_(table), y_(y), x_(x), runs_(runs) {
    RunPlan* plan = reinterpret_cast<RunPlan*>(scratch.data());
    float* at = reinterpret_cast<float*>(scratch.data() + Align64(sizeof(RunPlan) * (runs.size() + 1)));
    RunPlan next{};
    for (size_t i = 0; i < runs.size(); ++i) {
      const int rows = Rows(runs[i]), tiles = CeilDiv(rows, kTileRows);
      CountPieces(runs[i], &next);
      next.u = at;
      next.z = at += int64_t{rows} * next.u_stride;
      at += int64_t{rows} * next.z_stride;
      plan[i] = next;
      next.shrink_begin += tiles * next.shrink_pieces;
      next.picked_begin += tiles * next.picked_pieces;
      next.expand_begin += tiles * next.expand_pieces;
      coefficients_ += int64_t{rows} * next.z_stride;
    }
    plan[runs.size()] = next;
    plan_ = {plan, runs.size() + 1};
  }

  void Run(Pool& pool) const {
    RunUnits(pool, plan_, &RunPlan::shrink_begin,
             [this](size_t run, int unit, bool more) { ShrinkUnit(run, unit, more); });
    Gates(pool);
    RunUnits(pool, plan_, &RunPlan::picked_begin,
             [this](size_t run, int unit, bool) { PickedUnit(run, unit); });
    RunUnits(pool, plan_, &RunPlan::expand_begin,
             [this](size_t run, int unit, bool more) { ExpandUnit(run, unit, more); });
  }

 private:
  // A tile of a run: `row` is its first one, counted from the run's first.
  struct Tile {
    int row, rows;
  };
  Tile TileOf(size_t run, int index) const {
    return {index * kTileRows, std::min(kTileRows, Rows(runs_[run]) - index * kTileRows)};
  }

  Dots SharedPiece(size_t run, int n) const {
    return Nth<Dots>(n, [&](const auto& f) { ForEachSharedPiece(runs_[run], f); });
  }
  ColumnPiece<T> ColumnsOf(size_t run, int n) const {
    return Nth<ColumnPiece<T>>(n, [&](const auto& f) { ForEachColumnPiece(runs_[run], f); });
  }

  const LoraGroup<T>* NextGroup(size_t run) const {
    return run + 1 < runs_.size() ? runs_[run + 1].group : nullptr;
  }

  // Unit = tile of rows * pieces + piece of D.
  void ShrinkUnit(size_t i, int unit, bool more) const {
    const LoraRun<T>& run = runs_[i];
    const LoraGroup<T>& group = *run.group;
    const RunPlan& plan = plan_[i];
    const int index = unit % plan.shrink_pieces;
    const Tile tile = TileOf(i, unit / plan.shrink_pieces);
    const Dots piece = SharedPiece(i, index);
    DotsCall<T> call{};
    call.d = group.down + int64_t{piece.begin} * group.in;
    call.count = piece.count;
    call.in = group.in;
    call.rows = {tile.rows, nullptr};
    call.x = x_.Rows(run.row_begin + tile.row, tile.rows);
    call.u = plan.u + int64_t{tile.row} * plan.u_stride + piece.begin;
    call.u_stride = plan.u_stride;
    if (more && index + 1 < plan.shrink_pieces) {
      // Later tiles find it in the cache.
      const int next = tile.row == 0 ? SharedPiece(i, index + 1).begin : 0;
      call.next = tile.row == 0 ? group.down + int64_t{next} * group.in : nullptr;
    } else if (more && tile.row + tile.rows >= Rows(run) && NextGroup(i)) {
      call.next = NextGroup(i)->down;
    }
    Dot(table_, call);
  }

  void Gates(Pool& pool) const {
    constexpr int64_t kAlone = 8 * 1024;  // fewer coefficients take less time than waking a worker
    if (coefficients_ <= kAlone) {
      for (size_t i = 0; i < runs_.size(); ++i) GateRows(i, 0, Rows(runs_[i]));
      return;
    }
    const int rows = runs_.back().row_end - runs_.front().row_begin;
    const int share = std::max(kTileRows, rows / (4 * pool.threads()));
    pool.Run(CeilDiv(rows, share), [&](int task) {
      const int begin = runs_.front().row_begin + task * share, end = begin + share;
      for (size_t i = 0; i < runs_.size(); ++i) {
        const int from = std::max(begin, runs_[i].row_begin), to = std::min(end, runs_[i].row_end);
        if (from < to) GateRows(i, from - runs_[i].row_begin, to - runs_[i].row_begin);
      }
    });
  }

  void GateRows(size_t i, int begin, int end) const {
    const LoraRun<T>& run = runs_[i];
    const RunPlan& plan = plan_[i];
    for (int r = begin; r < end; ++r) {
      float* z = plan.z + int64_t{r} * plan.z_stride;
      float* record = run.gates ? run.gates + r * run.gates_stride : nullptr;
      for (const LoraMember<T>& m : run.group->members) {
        float* u = plan.u + int64_t{r} * plan.u_stride + m.down_begin;
        GateMember(run, m, u, z);
        if (record && m.gate.rule != GateRule::kNone) record = std::copy(u, u + m.experts, record);
        z += Coefficients(m);
      }
    }
  }

  // The router's dots in u become the gates; z = weight * gate * scale * u, but for the A that are picked by
  // these gates.
  void GateMember(const LoraRun<T>& run, const LoraMember<T>& m, float* u, float* z) const {
    Gate(table_, m, GateOf(run, m), u);
    if (PicksA(run, m)) return;
    const bool routed = m.gate.rule != GateRule::kNone;
    const float* a = u + RouterRows(m.gate, m.experts);
    for (int e = 0; e < m.experts; ++e) {
      const int begin = m.rank_begin[e], rank = m.rank_begin[e + 1] - begin;
      const float g = Coefficient(run, m, e, routed ? u[e] : 1);
      const float* from = m.shared_a ? a : a + begin;
      for (int j = 0; j < rank; ++j) z[begin + j] = g * from[j];
    }
  }
  static float Coefficient(const LoraRun<T>& run, const LoraMember<T>& m, int expert, float gate) {
    return gate * m.scale[expert] * run.weight;
  }

  // The tile's rows that picked the expert. What they weigh it by is in u.
  Pickers PickersOf(const RunPlan& plan, const LoraMember<T>& m, Tile tile, int expert) const {
    Pickers pickers;
    const float* gate = plan.u + int64_t{tile.row} * plan.u_stride + m.down_begin + expert;
    for (int r = 0; r < tile.rows; ++r) {
      if (gate[r * plan.u_stride] != 0) pickers.list[pickers.count++] = r;
    }
    return pickers;
  }

  // Unit = tile of rows * pieces + piece of an expert's A: z of the rows that picked it.
  void PickedUnit(size_t i, int unit) const {
    const LoraRun<T>& run = runs_[i];
    const RunPlan& plan = plan_[i];
    const Tile tile = TileOf(i, unit / plan.picked_pieces);
    const PickedPiece<T> piece =
        Nth<PickedPiece<T>>(unit % plan.picked_pieces, [&](const auto& f) { ForEachPickedPiece(run, f); });
    const LoraMember<T>& m = *piece.member;
    const Pickers pickers = PickersOf(plan, m, tile, piece.expert);
    if (pickers.count == 0) return;
    const int d_row = m.down_begin + RouterRows(m.gate, m.experts) + piece.begin;
    DotsCall<T> call{};
    call.d = run.group->down + int64_t{d_row} * run.group->in;
    call.count = piece.count;
    call.in = run.group->in;
    call.rows = pickers.rows();
    call.x = x_.Rows(run.row_begin + tile.row, tile.rows);
    call.u = plan.z + int64_t{tile.row} * plan.z_stride + piece.z_begin + piece.begin;
    call.u_stride = plan.z_stride;
    Dot(table_, call);
    for (int p = 0; p < pickers.count; ++p) {
      const int r = pickers.list[p];
      const float gate = plan.u[(tile.row + r) * int64_t{plan.u_stride} + m.down_begin + piece.expert];
      const float g = Coefficient(run, m, piece.expert, gate);
      float* z = call.u + r * plan.z_stride;
      for (int j = 0; j < piece.count; ++j) z[j] = g * z[j];
    }
  }

  // Unit = tile of rows * pieces + piece of columns.
  void ExpandUnit(size_t i, int unit, bool more) const {
    const LoraRun<T>& run = runs_[i];
    const RunPlan& plan = plan_[i];
    const int index = unit % plan.expand_pieces;
    const Tile tile = TileOf(i, unit / plan.expand_pieces);
    const ColumnPiece<T> piece = ColumnsOf(i, index);
    const LoraMember<T>& m = *piece.member;
    ExpandCall<T> call{};
    call.rows = {tile.rows, nullptr};
    call.y = y_.Rows(run.row_begin + tile.row, tile.rows).Cols(m.out_begin + piece.begin, piece.cols);
    call.z = plan.z + int64_t{tile.row} * plan.z_stride + piece.z_begin;
    call.z_stride = plan.z_stride;
    call.count = Coefficients(m);
    call.up = m.up + piece.begin;
    call.up_stride = m.out;
    if (Picks(run, m)) {
      ExpandPicked(plan, m, tile, call);
    } else {
      if (more) call.next = NextColumns(i, tile, index);
      Expand(table_, call);
    }
    ScaleOut(run, piece, call.y);
  }

  const T* NextColumns(size_t i, Tile tile, int index) const {
    const LoraGroup<T>* next = NextGroup(i);
    if (index + 1 < plan_[i].expand_pieces) {
      if (tile.row != 0) return nullptr;  // in the cache
      const ColumnPiece<T> piece = ColumnsOf(i, index + 1);
      return piece.member->up + piece.begin;
    }
    const bool ends = tile.row + tile.rows >= Rows(runs_[i]);
    return ends && next && !next->members.empty() ? next->members[0].up : nullptr;
  }

  // `call` is that of all rows and coefficients. Expert by expert, ascending: the order of every row's sum.
  void ExpandPicked(const RunPlan& plan, const LoraMember<T>& m, Tile tile, ExpandCall<T> call) const {
    const float* z = call.z;
    const T* up = call.up;
    for (int e = 0; e < m.experts; ++e) {
      const Pickers pickers = PickersOf(plan, m, tile, e);
      if (pickers.count == 0) continue;
      call.rows = pickers.rows();
      call.z = z + m.rank_begin[e];
      call.count = m.rank_begin[e + 1] - m.rank_begin[e];
      call.up = up + int64_t{m.rank_begin[e]} * m.out;
      Expand(table_, call);
    }
  }

  static void ScaleOut(const LoraRun<T>& run, const ColumnPiece<T>& piece, Mat<float> y) {
    const float* scale = piece.member->out_scale ? piece.member->out_scale + piece.begin : nullptr;
    const float* bias = piece.member->out_bias ? piece.member->out_bias + piece.begin : nullptr;
    for (int r = 0; r < y.rows; ++r) {
      for (int c = 0; scale && c < y.cols; ++c) y.row(r)[c] *= scale[c];
      for (int c = 0; bias && c < y.cols; ++c) y.row(r)[c] += run.weight * bias[c];
    }
  }

  const Table& table_;
  const Mat<float> y_;
  const Mat<const float> x_;
  const std::span<const LoraRun<T>> runs_;
  std::span<const RunPlan> plan_;
  int64_t coefficients_ = 0;
};

}  // namespace

template <class T>
void AddLora(Isa isa, Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
             std::span<std::byte> scratch) {
  if (!runs.empty()) Step<T>(TableFor(isa), y, x, runs, scratch).Run(pool);
}

template <class T>
void AddLora(Pool& pool, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
             std::span<std::byte> scratch) {
  AddLora(ActiveIsa(), pool, y, x, runs, scratch);
}

#define HYDRAD_LORA_OF(T)                                                                         \
  template void AddLora<T>(Pool&, Mat<float>, Mat<const float>, std::span<const LoraRun<T>>,      \
                           std::span<std::byte>);                                                 \
  template void AddLora<T>(Isa, Pool&, Mat<float>, Mat<const float>, std::span<const LoraRun<T>>, \
                           std::span<std::byte>);
HYDRAD_LORA_OF(bf16)
HYDRAD_LORA_OF(float)
#undef HYDRAD_LORA_OF

}  // namespace simd
}  // namespace hydrad
