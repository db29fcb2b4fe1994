// How one AddLora is cut into units: tiles of up to 16 rows of a run by pieces of D or of columns. A unit
// never changes a result, only who computes it. Three kinds of units follow each other, each done before the
// next begins (the gates lie between shrink and picked):
//   shrink  a tile x up to 8 rows of D that all of the run's rows need  ->  u
//   picked  a tile x up to 8 rows of one expert's A, for the rows that picked it  ->  z
//   expand  a tile x up to 256 columns of one member, with all of its coefficients  ->  y
//
// Of every run u is [rows, u_stride], a column for each row of D, and z [rows, z_stride], the coefficients of
// its members one after the other (z_begin is where a member's begin); both f32, strides in elements and
// whole multiples of 16. Unit n of a run is piece n % pieces of tile n / pieces (lora.cc). Everything here is
// a pure function of its arguments, allocates nothing and has no errors, but for RunUnits, which blocks until
// the pool has done all units.
#ifndef HYDRAD_KERNELS_SIMD_LORA_PLAN_H_
#define HYDRAD_KERNELS_SIMD_LORA_PLAN_H_

#include <algorithm>
#include <cstddef>
#include <span>

#include "kernels/lora.h"
#include "kernels/simd/pool.h"

namespace hydrad::simd {

// The sizes of units: rows, and what of D or of y one of them has.
constexpr int kTileRows = 16;    // rows that share one reading of a piece
constexpr int kPieceDots = 8;    // rows of D in a shrink unit
constexpr int kPieceCols = 256;  // columns of y in an expand unit

inline int CeilDiv(int a, int b) { return (a + b - 1) / b; }
inline int Pad(int n) { return CeilDiv(n, 16) * 16; }           // to whole vectors
inline size_t Align64(size_t n) { return (n + 63) / 64 * 64; }  // to whole lines of the cache

// Sizes of a run, of a member and of a group. Coefficients are the ranks of all experts added up, of one
// member or of all members of a group.
template <class T>
int Rows(const LoraRun<T>& run) {
  return run.row_end - run.row_begin;
}
template <class T>
int Coefficients(const LoraMember<T>& m) {
  return m.rank_begin[m.experts];
}
template <class T>
int Coefficients(const LoraGroup<T>& group) {
  int sum = 0;
  for (const LoraMember<T>& m : group.members) sum += Coefficients(m);
  return sum;
}

// Returns the member's gate as the run uses it: a run may keep fewer experts than the adapter was trained
// with.
template <class T>
LoraGate GateOf(const LoraRun<T>& run, const LoraMember<T>& m) {
  return WithTopK(m.gate, run.top_k, m.experts);
}
// Returns whether each row leaves some of the experts out.
template <class T>
bool Picks(const LoraRun<T>& run, const LoraMember<T>& m) {
  return LeavesOut(GateOf(run, m).rule);
}
// Returns whether the A of a picked expert is multiplied for the rows that picked it, once the gates are
// known. A shared A is multiplied for all rows before that.
template <class T>
bool PicksA(const LoraRun<T>& run, const LoraMember<T>& m) {
  return !m.shared_a && Picks(run, m);
}
// Returns how many of the member's rows of D every row of the run is multiplied by: the router's, and those
// of A but for experts that are picked.
template <class T>
int SharedDots(const LoraRun<T>& run, const LoraMember<T>& m) {
  const int router = RouterRows(m.gate, m.experts);
  if (PicksA(run, m)) return router;
  return router + (m.shared_a ? m.rank_begin[1] : Coefficients(m));
}

// Rows of D: [begin, begin + count).
struct Dots {
  int begin, count;
};

// Calls f(Dots) for each piece of the rows of D that all rows of the run need, until f returns false. Members
// that lie side by side share pieces.
template <class T, class F>
void ForEachSharedPiece(const LoraRun<T>& run, const F& f) {
  const auto members = run.group->members;
  for (size_t i = 0; i < members.size();) {
    int begin = members[i].down_begin, end = begin + SharedDots(run, members[i]);
    while (++i < members.size() && members[i].down_begin == end) end += SharedDots(run, members[i]);
    for (; begin < end; begin += kPieceDots) {
      if (!f(Dots{begin, std::min(kPieceDots, end - begin)})) return;
    }
  }
}

// A piece of the A of one expert that rows pick: up to kPieceDots of its rows.
template <class T>
struct PickedPiece {
  const LoraMember<T>* member;
  int z_begin;  // of the member's coefficients in a row of z
  int expert;
  int begin, count;  // of the member's coefficients
};
// Calls f(PickedPiece) for each piece of the A of experts that are picked, member by member, expert by
// expert, until f returns false. Members none of whose A are picked have no pieces.
template <class T, class F>
void ForEachPickedPiece(const LoraRun<T>& run, const F& f) {
  int z_begin = 0;
  for (const LoraMember<T>& m : run.group->members) {
    for (int e = 0; PicksA(run, m) && e < m.experts; ++e) {
      for (int i = m.rank_begin[e]; i < m.rank_begin[e + 1]; i += kPieceDots) {
        if (!f(PickedPiece<T>{&m, z_begin, e, i, std::min(kPieceDots, m.rank_begin[e + 1] - i)})) return;
      }
    }
    z_begin += Coefficients(m);
  }
}

// Columns of one member: [begin, begin + cols) of its own.
template <class T>
struct ColumnPiece {
  const LoraMember<T>* member;
  int z_begin;  // of the member's coefficients in a row of z
  int begin, cols;
};
// Calls f(ColumnPiece) for each piece of y's columns, member by member, until f returns false.
template <class T, class F>
void ForEachColumnPiece(const LoraRun<T>& run, const F& f) {
  int z_begin = 0;
  for (const LoraMember<T>& m : run.group->members) {
    for (int begin = 0; begin < m.out; begin += kPieceCols) {
      if (!f(ColumnPiece<T>{&m, z_begin, begin, std::min(kPieceCols, m.out - begin)})) return;
    }
    z_begin += Coefficients(m);
  }
}

// Where a run's units start, and where its u and z lie in scratch. A plan has one for each run and one more,
// whose *_begin are the numbers of units of all runs; the rest of that one is not used.
struct RunPlan {
  int shrink_begin, picked_begin, expand_begin;     // number of the run's first unit, over all runs
  int shrink_pieces, picked_pieces, expand_pieces;  // of each of its tiles
  int u_stride, z_stride;
  float* u;  // [rows, u_stride]
  float* z;  // [rows, z_stride]: the members' coefficients one after the other
};

// Fills in what of the plan depends on the run alone: pieces and strides.
template <class T>
void CountPieces(const LoraRun<T>& run, RunPlan* plan) {
  plan->shrink_pieces = plan->picked_pieces = plan->expand_pieces = 0;
  ForEachSharedPiece(run, [&](Dots) { return ++plan->shrink_pieces; });
  ForEachPickedPiece(run, [&](const PickedPiece<T>&) { return ++plan->picked_pieces; });
  ForEachColumnPiece(run, [&](const ColumnPiece<T>&) { return ++plan->expand_pieces; });
  plan->u_stride = Pad(run.group->down_rows);
  plan->z_stride = Pad(Coefficients(*run.group));
}

// Calls f(run, unit of the run, whether this task goes on to the next unit) for all units that `begin`
// numbers, on the threads of the pool at once; each task takes consecutive units. Returns when all are done.
template <class F>
void RunUnits(Pool& pool, std::span<const RunPlan> plan, int RunPlan::*begin, const F& f) {
  constexpr int kShares = 4;
  const int units = plan.back().*begin;
  if (units == 0) return;
  const int tasks = std::min(units, pool.threads() * kShares);
  pool.Run(tasks, [&](int task) {
    const int from = static_cast<int>(int64_t{units} * task / tasks);
    const int to = static_cast<int>(int64_t{units} * (task + 1) / tasks);
    const auto after = [begin](int unit, const RunPlan& p) { return unit < p.*begin; };
    size_t run = std::upper_bound(plan.begin(), plan.end(), from, after) - plan.begin() - 1;
    for (int unit = from; unit < to; ++unit) {
      while (unit >= plan[run + 1].*begin) ++run;
      f(run, unit - plan[run].*begin, unit + 1 < to);
    }
  });
}

// Returns the n-th piece, from 0, that `for_each` (one of the above, its run bound) calls its argument with.
// REQUIRES: there are more than n.
template <class Piece, class F>
Piece Nth(int n, const F& for_each) {
  Piece result{};
  for_each([&](const Piece& piece) {
    result = piece;
    return n-- > 0;
  });
  return result;
}

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_LORA_PLAN_H_
