// The low-rank change in three passes over all runs of the batch: shrink (u = D x), gates (z from u), expand
// (y += U^T z). Each pass is cut into units, tiles of rows by pieces of D or of columns, numbered in batch
// order; a task takes consecutive units, and while it computes one it prefetches the weights of the next,
// most often those of the next adapter: adapters are read once a step, so their bytes set the pace.
#include "kernels/lora.h"

#include <algorithm>

#include "kernels/simd/by_isa.h"
#include "kernels/simd/pool.h"
#include "kernels/simd/table.h"

namespace hydrad {
namespace {

constexpr int kTileRows = 16;    // rows that share one reading of a piece
constexpr int kPieceDots = 8;    // rows of D in a shrink unit
constexpr int kPieceCols = 256;  // columns of y in an expand unit

int CeilDiv(int a, int b) { return (a + b - 1) / b; }
int Pad(int n) { return CeilDiv(n, 16) * 16; }
size_t Align64(size_t n) { return (n + 63) / 64 * 64; }

// Where a run's units start and where its u and z lie in scratch. The last entry only ends the one before.
struct RunPlan {
  int shrink_begin, expand_begin;
  int u_stride, z_stride;
  float* u;  // [rows, u_stride]
  float* z;  // [rows, z_stride]: the members' coefficients one after the other
};

template <class T>
int Rows(const LoraRun<T>& run) {
  return run.row_end - run.row_begin;
}
template <class T>
int Coefficients(const LoraGroup<T>& group) {
  int sum = 0;
  for (const LoraMember<T>& m : group.members) sum += m.experts * m.rank;
  return sum;
}
template <class T>
int ShrinkPieces(const LoraGroup<T>& group) {
  return CeilDiv(group.down_rows, kPieceDots);
}
template <class T>
int ExpandPieces(const LoraGroup<T>& group) {
  int sum = 0;
  for (const LoraMember<T>& m : group.members) sum += CeilDiv(m.out, kPieceCols);
  return sum;
}

}  // namespace

template <class T>
size_t LoraScratchBytes(std::span<const LoraRun<T>> runs) {
  size_t bytes = Align64(sizeof(RunPlan) * (runs.size() + 1));
  for (const LoraRun<T>& run : runs) {
    bytes += sizeof(float) * Rows(run) * (Pad(run.group->down_rows) + Pad(Coefficients(*run.group)));
  }
  return bytes;
}
template size_t LoraScratchBytes<bf16>(std::span<const LoraRun<bf16>>);
template size_t LoraScratchBytes<float>(std::span<const LoraRun<float>>);

namespace simd {
namespace {

void Dots(const Table& t, const DotsCall<bf16>& c) { t.dots_bf16(c); }
void Dots(const Table& t, const DotsCall<float>& c) { t.dots_f32(c); }
void Expand(const Table& t, const ExpandCall<bf16>& c) { t.expand_bf16(c); }
void Expand(const Table& t, const ExpandCall<float>& c) { t.expand_f32(c); }

// One AddLora.
template <class T>
class Step {
 public:
  Step(const Table& table, Mat<float> y, Mat<const float> x, std::span<const LoraRun<T>> runs,
       std::span<std::byte> scratch)
      : table_(table), y_(y), x_(x), runs_(runs) {
    RunPlan* plan = reinterpret_cast<RunPlan*>(scratch.data());
    float* at = reinterpret_cast<float*>(scratch.data() + Align64(sizeof(RunPlan) * (runs.size() + 1)));
    RunPlan next{0, 0, 0, 0, at, at};
    for (size_t i = 0; i < runs.size(); ++i) {
      const LoraGroup<T>& group = *runs[i].group;
      const int rows = Rows(runs[i]), tiles = CeilDiv(rows, kTileRows);
      next.u_stride = Pad(group.down_rows);
      next.z_stride = Pad(Coefficients(group));
      next.u = at;
      next.z = at += int64_t{rows} * next.u_stride;
      at += int64_t{rows} * next.z_stride;
      plan[i] = next;
      next.shrink_begin += tiles * ShrinkPieces(group);
      next.expand_begin += tiles * ExpandPieces(group);
      coefficients_ += int64_t{rows} * next.z_stride;
    }
    plan[runs.size()] = next;
    plan_ = {plan, runs.size() + 1};
  }

  void Run(Pool& pool) const {
    RunUnits(pool, &RunPlan::shrink_begin,
             [this](size_t run, int unit, bool more) { ShrinkUnit(run, unit, more); });
    Gates(pool);
    RunUnits(pool, &RunPlan::expand_begin,
             [this](size_t run, int unit, bool more) { ExpandUnit(run, unit, more); });
  }

 private:
  // Calls f(run, unit of the run, whether this task goes on to the next unit) for all units that `begin`
  // numbers.
  template <class F>
  void RunUnits(Pool& pool, int RunPlan::*begin, const F& f) const {
    constexpr int kShares = 4;
    const int units = plan_.back().*begin;
    const int tasks = std::min(units, pool.threads() * kShares);
    pool.Run(tasks, [&](int task) {
      const int from = static_cast<int>(int64_t{units} * task / tasks);
      const int to = static_cast<int>(int64_t{units} * (task + 1) / tasks);
      const auto after = [begin](int unit, const RunPlan& p) { return unit < p.*begin; };
      size_t run = std::upper_bound(plan_.begin(), plan_.end(), from, after) - plan_.begin() - 1;
      for (int unit = from; unit < to; ++unit) {
        while (unit >= plan_[run + 1].*begin) ++run;
        f(run, unit - plan_[run].*begin, unit + 1 < to);
      }
    });
  }

  // The first run after `run` with any weights, or null.
  const LoraGroup<T>* NextGroup(size_t run) const {
    return run + 1 < runs_.size() ? runs_[run + 1].group : nullptr;
  }

  // Unit = tile of rows * pieces + piece of D.
  void ShrinkUnit(size_t i, int unit, bool more) const {
    const LoraRun<T>& run = runs_[i];
    const LoraGroup<T>& group = *run.group;
    const RunPlan& plan = plan_[i];
    const int pieces = ShrinkPieces(group), piece = unit % pieces, row = unit / pieces * kTileRows;
    const int begin = piece * kPieceDots;
    DotsCall<T> call{};
    call.d = group.down + int64_t{begin} * group.in;
    call.count = std::min(kPieceDots, group.down_rows - begin);
    call.in = group.in;
    call.x = x_.Rows(run.row_begin + row, std::min(kTileRows, Rows(run) - row));
    call.u = plan.u + int64_t{row} * plan.u_stride + begin;
    call.u_stride = plan.u_stride;
    if (more && piece + 1 < pieces) {
      call.next =
          row == 0 ? call.d + int64_t{kPieceDots} * group.in : nullptr;  // later tiles find it in the cache
    } else if (more && row + kTileRows >= Rows(run) && NextGroup(i)) {
      call.next = NextGroup(i)->down;
    }
    Dots(table_, call);
  }

  // The columns [begin, begin + cols) of one member.
  struct Piece {
    const LoraMember<T>* member;
    int z_begin;  // of the member's coefficients
    int begin, cols;
  };
  static Piece PieceOf(const LoraGroup<T>& group, int piece) {
    int z_begin = 0;
    for (const LoraMember<T>& m : group.members) {
      const int pieces = CeilDiv(m.out, kPieceCols);
      if (piece < pieces)
        return {&m, z_begin, piece * kPieceCols, std::min(kPieceCols, m.out - piece * kPieceCols)};
      piece -= pieces;
      z_begin += m.experts * m.rank;
    }
    return {};
  }

  void ExpandUnit(size_t i, int unit, bool more) const {
    const LoraRun<T>& run = runs_[i];
    const LoraGroup<T>& group = *run.group;
    const RunPlan& plan = plan_[i];
    const int pieces = ExpandPieces(group), index = unit % pieces, row = unit / pieces * kTileRows;
    const Piece piece = PieceOf(group, index);
    const LoraMember<T>& m = *piece.member;
    ExpandCall<T> call{};
    call.y = y_.Rows(run.row_begin + row, std::min(kTileRows, Rows(run) - row))
                 .Cols(m.out_begin + piece.begin, piece.cols);
    call.z = plan.z + int64_t{row} * plan.z_stride + piece.z_begin;
    call.z_stride = plan.z_stride;
    call.count = m.experts * m.rank;
    call.up = m.up + piece.begin;
    call.up_stride = m.out;
    if (more && index + 1 < pieces) {
      const Piece next = PieceOf(group, index + 1);
      call.next = row == 0 ? next.member->up + next.begin : nullptr;
    } else if (more && row + kTileRows >= Rows(run) && NextGroup(i) && !NextGroup(i)->members.empty()) {
      call.next = NextGroup(i)->members[0].up;
    }
    Expand(table_, call);
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
    const RunPlan& plan = plan_[i];
    for (int r = begin; r < end; ++r) {
      float* z = plan.z + int64_t{r} * plan.z_stride;
      for (const LoraMember<T>& m : runs_[i].group->members) {
        GateMember(m, plan.u + int64_t{r} * plan.u_stride + m.down_begin, z);
        z += m.experts * m.rank;
      }
    }
  }

  // z[e * rank + j] = gate * scale * u; the router's dots in u become the gates.
  void GateMember(const LoraMember<T>& m, float* u, float* z) const {
    const float* a = m.routed ? u + m.experts : u;
    if (m.routed) {
      for (int e = 0; m.router_bias && e < m.experts; ++e) u[e] += m.router_bias[e];
      table_.softmax(u, m.experts);
    }
    for (int e = 0; e < m.experts; ++e) {
      const float g = m.routed ? u[e] * m.scale[e] : m.scale[e];
      const float* from = m.shared_a ? a : a + e * m.rank;
      for (int j = 0; j < m.rank; ++j) z[e * m.rank + j] = g * from[j];
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
