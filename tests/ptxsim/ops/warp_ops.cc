// Instructions in which the lanes of a warp see each other: shuffles, votes, reductions.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/decoders.h"
#include "ops/lanes.h"

namespace ptxsim {
namespace {

// The membermask goes to r[13], where the scheduler looks for it.
void DecodeMask(const Statement& s, Builder& b, Instr* instr, const Operand& mask) {
  instr->kind = Kind::kWarpSync;
  instr->masked = true;
  instr->r[13] = b.Read(s, mask, 4);
}

enum ShuffleMode : uint8_t { kIdx, kUp, kDown, kBfly };

// The lane that `lane` reads from, and whether it lies within the segment. `c` is clamp | segment mask << 8.
int ShuffleSource(ShuffleMode mode, int lane, int b, uint32_t c, bool* valid) {
  int segment = static_cast<int>(c >> 8 & 31), clamp = static_cast<int>(c & 31);
  int last = (lane & segment) | (clamp & ~segment), first = lane & segment, source = 0;
  b &= 31;
  switch (mode) {
    case kUp:
      source = lane - b, *valid = source >= last;
      break;
    case kDown:
      source = lane + b, *valid = source <= last;
      break;
    case kBfly:
      source = lane ^ b, *valid = source <= last;
      break;
    case kIdx:
      source = first | (b & ~segment), *valid = source <= last;
      break;
  }
  return *valid ? source : lane;
}

// r: 0 = d, 1 = p (if count == 2), 2 = a, 3 = b, 4 = c.
void Shuffle(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t in[kWarpSize], valid_lanes = 0;
  std::memcpy(in, w.At<uint32_t>(i.r[2]), sizeof(in));
  const uint32_t *b = w.At<uint32_t>(i.r[3]), *c = w.At<uint32_t>(i.r[4]);
  int source[kWarpSize];
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int l = std::countr_zero(rest);
    bool valid = false;
    source[l] = ShuffleSource(static_cast<ShuffleMode>(i.sub), l, static_cast<int>(b[l]), c[l], &valid);
    if (valid) valid_lanes |= 1u << l;
    if (!(lanes >> source[l] & 1)) Warn(w, i, l, "shuffle reads a lane that does not take part");
  }
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int l = std::countr_zero(rest);
    d[l] = in[source[l]];
  }
  if (i.count == 2) SetPredicate(w, i.r[1], lanes, valid_lanes);
}

// sub: 0 ballot, 1 all, 2 any, 3 uni. imm: -1 if the predicate is negated.
void Vote(Warp& w, const Instr& i, uint32_t lanes) {
  uint32_t bits = (*w.At<uint32_t>(i.r[1]) ^ static_cast<uint32_t>(i.imm)) & lanes;
  if (i.sub == 0) {
    uint32_t* d = w.At<uint32_t>(i.r[0]);
    return ForLanes(lanes, [=](int l) { d[l] = bits; });
  }
  bool holds = i.sub == 1 ? bits == lanes : i.sub == 2 ? bits != 0 : bits == 0 || bits == lanes;
  SetPredicate(w, i.r[0], lanes, holds ? ~0u : 0);
}

// match.any: who has my value; match.all (sub): everybody if all agree, with a predicate.
template <class T>
void Match(Warp& w, const Instr& i, uint32_t lanes) {
  T in[kWarpSize];
  std::memcpy(in, w.At<T>(i.r[2]), sizeof(in));
  uint32_t* d = w.At<uint32_t>(i.r[0]);
  bool all_equal = true;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int l = std::countr_zero(rest);
    uint32_t equal = 0;
    for (int o = 0; o < kWarpSize; ++o)
      equal |= static_cast<uint32_t>((lanes >> o & 1) && in[o] == in[l]) << o;
    all_equal &= equal == lanes;
    d[l] = equal;
  }
  if (i.sub == 0) return;
  ForLanes(lanes, [=](int l) { d[l] = all_equal ? lanes : 0; });
  if (i.count == 2) SetPredicate(w, i.r[1], lanes, all_equal ? ~0u : 0);
}

constexpr auto kAdd = [](auto a, auto b) { return a + b; };
constexpr auto kMin = [](auto a, auto b) { return b < a ? b : a; };
constexpr auto kMax = [](auto a, auto b) { return a < b ? b : a; };
constexpr auto kAnd = [](auto a, auto b) { return a & b; };
constexpr auto kOr = [](auto a, auto b) { return a | b; };
constexpr auto kXor = [](auto a, auto b) { return a ^ b; };

template <class T, auto F>
void Redux(Warp& w, const Instr& i, uint32_t lanes) {
  const T* a = w.At<T>(i.r[1]);
  T* d = w.At<T>(i.r[0]);
  uint32_t rest = lanes;
  T total = a[std::countr_zero(rest)];
  for (rest &= rest - 1; rest != 0; rest &= rest - 1)
    total = static_cast<T>(F(total, a[std::countr_zero(rest)]));
  ForLanes(lanes, [=](int l) { d[l] = total; });
}

}  // namespace

void DecodeShfl(const Statement& s, Builder& b, Instr* instr) {
  size_t n = 0;
  instr->count = s.paired ? 2 : 1;
  RequireOperands(s, s.paired ? 6 : 5);
  instr->r[0] = b.Write(s, s.operands[n++], 4);
  if (s.paired) instr->r[1] = b.Write(s, s.operands[n++], 0);
  for (size_t r = 2; r < 5; ++r) instr->r[r] = b.Read(s, s.operands[n++], 4);
  DecodeMask(s, b, instr, s.operands[n]);
  instr->sub = s.Has("up") ? kUp : s.Has("down") ? kDown : s.Has("bfly") ? kBfly : kIdx;
  instr->run = Shuffle;
}

void DecodeVote(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 3);
  instr->sub = s.Has("ballot") ? 0 : s.Has("all") ? 1 : s.Has("any") ? 2 : 3;
  instr->r[0] = b.Write(s, s.operands[0], instr->sub == 0 ? 4 : 0);
  instr->r[1] = b.Read(s, s.operands[1], 0);
  instr->imm = s.operands[1].negated ? -1 : 0;
  DecodeMask(s, b, instr, s.operands[2]);
  instr->run = Vote;
}

void DecodeMatch(const Statement& s, Builder& b, Instr* instr) {
  size_t n = 0;
  int bytes = SizeOf(s.TypeAt(0));
  instr->count = s.paired ? 2 : 1;
  instr->sub = s.Has("all");
  instr->r[0] = b.Write(s, s.operands[n++], 4);
  if (s.paired) instr->r[1] = b.Write(s, s.operands[n++], 0);
  RequireOperands(s, n + 2);
  instr->r[2] = b.Read(s, s.operands[n], bytes);
  DecodeMask(s, b, instr, s.operands[n + 1]);
  instr->run = bytes == 8 ? Match<uint64_t> : Match<uint32_t>;
}

void DecodeRedux(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 3);
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->r[1] = b.Read(s, s.operands[1], 4);
  DecodeMask(s, b, instr, s.operands[2]);
  Type t = s.TypeAt(0);
  bool is_signed = t == Type::kS32;
  if (t == Type::kF32) {
    if (s.Has("abs") || s.Has("NaN")) s.Fail("this form is not supported");
    SetHandler(s, instr, s.Has("min") ? Redux<float, kMin> : s.Has("max") ? Redux<float, kMax> : nullptr);
    return;
  }
  Handler handler = s.Has("add")   ? Redux<uint32_t, kAdd>
                    : s.Has("min") ? (is_signed ? Redux<int32_t, kMin> : Redux<uint32_t, kMin>)
                    : s.Has("max") ? (is_signed ? Redux<int32_t, kMax> : Redux<uint32_t, kMax>)
                    : s.Has("and") ? Redux<uint32_t, kAnd>
                    : s.Has("or")  ? Redux<uint32_t, kOr>
                    : s.Has("xor") ? Redux<uint32_t, kXor>
                                   : nullptr;
  SetHandler(s, instr, handler);
}

void DecodeActivemask(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 1);
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->run = [](Warp& w, const Instr& i, uint32_t lanes) {
    uint32_t* d = w.At<uint32_t>(i.r[0]);
    ForLanes(lanes, [=](int l) { d[l] = lanes; });
  };
}

// elect.sync d|p, mask: the lowest lane is the leader.
void DecodeElect(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 3);
  instr->r[0] = b.Write(s, s.operands[0], 4);
  instr->r[1] = b.Write(s, s.operands[1], 0);
  DecodeMask(s, b, instr, s.operands[2]);
  instr->run = [](Warp& w, const Instr& i, uint32_t lanes) {
    uint32_t* d = w.At<uint32_t>(i.r[0]);
    uint32_t leader = static_cast<uint32_t>(std::countr_zero(lanes));
    ForLanes(lanes, [=](int l) { d[l] = leader; });
    SetPredicate(w, i.r[1], lanes, 1u << leader);
  };
}

}  // namespace ptxsim
