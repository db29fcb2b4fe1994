// mma.sync and the loads and stores of its fragments.
//
// Fragment layouts as in the PTX ISA, with g = lane / 4 and t = lane % 4. For 16-bit inputs:
//   A (16 x 16): register i holds A[g + 8 * (i & 1)][2 * t + 8 * (i >> 1)] and the element right of it
//   B (16 x 8):  register i holds B[2 * t + 8 * i][g] and the element below
//   C, D (16 x 8): value i is at [g + 8 * (i >> 1)][2 * t + (i & 1)]
// m16n8k8 has the first half of each. Products are exact in float; sums are rounded to float in the order of
// k, where the hardware adds several at a time, wider: compare with a tolerance.
#include <bit>
#include <cstring>

#include "ops/decoders.h"
#include "ops/memory_access.h"

namespace ptxsim {
namespace {

inline float MulAdd(float a, float b, float c) {
#ifdef __FMA__
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

template <class Half>
float Low(uint32_t bits) {
  if constexpr (std::is_same_v<Half, BF16>)
    return BitsToFloat(bits << 16);
  else
    return HalfBitsToFloat(static_cast<uint16_t>(bits));
}
template <class Half>
float High(uint32_t bits) {
  if constexpr (std::is_same_v<Half, BF16>)
    return BitsToFloat(bits & 0xffff0000u);
  else
    return HalfBitsToFloat(static_cast<uint16_t>(bits >> 16));
}

// Registers in r: d[0..4), a[4..8), b[8..10), c[10..14). K is 8 or 16.
// d is kept as rows of 16: the eight columns of row g, then those of row g + 8.
template <class Half, int K>
void Mma(Warp& w, const Instr& i, uint32_t) {
  constexpr int kA = K / 4, kB = K / 8;
  alignas(64) float a[2][8][K], b[K][8], d[8][16];
  for (int n = 0; n < kA; ++n) {
    const uint32_t* from = w.At<uint32_t>(i.r[static_cast<size_t>(4 + n)]);
    for (int l = 0; l < kWarpSize; ++l) {
      float* to = &a[n & 1][l >> 2][2 * (l & 3) + 8 * (n >> 1)];
      to[0] = Low<Half>(from[l]);
      to[1] = High<Half>(from[l]);
    }
  }
  for (int n = 0; n < kB; ++n) {
    const uint32_t* from = w.At<uint32_t>(i.r[static_cast<size_t>(8 + n)]);
    for (int l = 0; l < kWarpSize; ++l) {
      b[2 * (l & 3) + 8 * n][l >> 2] = Low<Half>(from[l]);
      b[2 * (l & 3) + 8 * n + 1][l >> 2] = High<Half>(from[l]);
    }
  }
  for (int n = 0; n < 4; ++n) {
    const float* from = w.At<float>(i.r[static_cast<size_t>(10 + n)]);
    for (int l = 0; l < kWarpSize; ++l) d[l >> 2][8 * (n >> 1) + 2 * (l & 3) + (n & 1)] = from[l];
  }
  for (int g = 0; g < 8; ++g) {
    float row[16];
    std::memcpy(row, d[g], sizeof(row));
    for (int k = 0; k < K; ++k) {
      for (int j = 0; j < 8; ++j) row[j] = MulAdd(a[0][g][k], b[k][j], row[j]);
      for (int j = 0; j < 8; ++j) row[8 + j] = MulAdd(a[1][g][k], b[k][j], row[8 + j]);
    }
    std::memcpy(d[g], row, sizeof(row));
  }
  for (int n = 0; n < 4; ++n) {
    float* to = w.At<float>(i.r[static_cast<size_t>(n)]);
    for (int l = 0; l < kWarpSize; ++l) to[l] = d[l >> 2][8 * (n >> 1) + 2 * (l & 3) + (n & 1)];
  }
  ++w.block->counters->mma;
}

// Where ldmatrix and stmatrix find their rows: lane l gives the address of row l % 8 of matrix l / 8.
bool MatrixRows(Warp& w, const Instr& i, uint64_t* row, bool write) {
  Addresses(w, i, row);
  uint32_t lanes = i.vec == 4 ? kAllLanes : (1u << 8 * i.vec) - 1;
  Space space;
  if (SameSpace(w, lanes, row, i.space, &space) != lanes || space != Space::kShared) {
    Fault(w, i, 0, "a matrix row outside of shared memory");
    return false;
  }
  if (!Locate(w, i, lanes, space, row, 16, write)) return false;
  AccessKind kind;
  kind.read = !write;
  kind.write = write;
  for (int l = 0; FullChecks(w) && l < 8 * i.vec; ++l) CheckAccess(w, i, l, space, row[l], 16, kind);
  return true;
}

void Ldmatrix(Warp& w, const Instr& i, uint32_t) {
  uint64_t row[kWarpSize];
  if (!MatrixRows(w, i, row, false)) return;
  for (unsigned n = 0; n < i.vec; ++n) {
    uint32_t* to = w.At<uint32_t>(i.r[n]);
    uint16_t m[8][8];
    for (unsigned r = 0; r < 8; ++r) std::memcpy(m[r], reinterpret_cast<const void*>(row[8 * n + r]), 16);
    for (unsigned l = 0; l < kWarpSize; ++l) {
      unsigned g = l / 4, t = 2 * (l % 4);
      to[l] = i.sub == 0 ? m[g][t] | static_cast<uint32_t>(m[g][t + 1]) << 16
                         : m[t][g] | static_cast<uint32_t>(m[t + 1][g]) << 16;
    }
  }
}

void Stmatrix(Warp& w, const Instr& i, uint32_t) {
  uint64_t row[kWarpSize];
  if (!MatrixRows(w, i, row, true)) return;
  for (unsigned n = 0; n < i.vec; ++n) {
    const uint32_t* from = w.At<uint32_t>(i.r[n]);
    uint16_t m[8][8];
    for (unsigned l = 0; l < kWarpSize; ++l) {
      unsigned g = l / 4, t = 2 * (l % 4);
      (i.sub == 0 ? m[g][t] : m[t][g]) = static_cast<uint16_t>(from[l]);
      (i.sub == 0 ? m[g][t + 1] : m[t + 1][g]) = static_cast<uint16_t>(from[l] >> 16);
    }
    for (unsigned r = 0; r < 8; ++r) std::memcpy(reinterpret_cast<void*>(row[8 * n + r]), m[r], 16);
  }
}

void Movmatrix(Warp& w, const Instr& i, uint32_t) {
  const uint32_t* from = w.At<uint32_t>(i.r[1]);
  uint32_t* to = w.At<uint32_t>(i.r[0]);
  uint16_t m[8][8];
  for (unsigned l = 0; l < kWarpSize; ++l) {
    m[l / 4][2 * (l % 4)] = static_cast<uint16_t>(from[l]);
    m[l / 4][2 * (l % 4) + 1] = static_cast<uint16_t>(from[l] >> 16);
  }
  for (unsigned l = 0; l < kWarpSize; ++l) {
    to[l] = m[2 * (l % 4)][l / 4] | static_cast<uint32_t>(m[2 * (l % 4) + 1][l / 4]) << 16;
  }
}

void DecodeMatrixAccess(const Statement& s, Builder& b, Instr* instr, const Operand& values,
                        const Operand& address, bool write) {
  if (!s.Has("m8n8") || !s.Has("b16")) s.Fail("only m8n8 matrices of b16 are supported");
  instr->kind = Kind::kWarpSync;
  instr->space = ParseSpace(s);
  instr->sub = s.Has("trans");
  instr->vec = s.Has("x4") ? 4 : s.Has("x2") ? 2 : 1;
  const std::vector<Operand> single{values};
  const std::vector<Operand>& parts = values.kind == Operand::kVector ? values.parts : single;
  if (parts.size() != instr->vec) s.Fail("as many registers as matrices expected");
  for (size_t n = 0; n < parts.size(); ++n)
    instr->r[n] = write ? b.Read(s, parts[n], 4) : b.Write(s, parts[n], 4);
  DecodeAddress(s, b, instr, address);
}

}  // namespace

void DecodeMma(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 4);
  bool k16 = s.Has("m16n8k16"), bf16 = s.TypeAt(1) == Type::kBF16;
  bool inputs = s.TypeAt(1) == s.TypeAt(2) && (bf16 || s.TypeAt(1) == Type::kF16);
  if ((!k16 && !s.Has("m16n8k8")) || !inputs || s.TypeAt(0) != Type::kF32 || s.TypeAt(3) != Type::kF32 ||
      !s.Has("row") || !s.Has("col")) {
    s.Fail("only m16n8k16 and m16n8k8, row.col, f32 = bf16 or f16 * the same + f32 are supported");
  }
  const size_t counts[4] = {4, k16 ? 4u : 2u, k16 ? 2u : 1u, 4}, first[4] = {0, 4, 8, 10};
  for (size_t o = 0; o < 4; ++o) {
    const Operand single = s.operands[o];
    std::vector<Operand> parts =
        single.kind == Operand::kVector ? single.parts : std::vector<Operand>{single};
    if (parts.size() != counts[o]) s.Fail("a fragment of the wrong size");
    for (size_t n = 0; n < parts.size(); ++n) {
      instr->r[first[o] + n] = o == 0 ? b.Write(s, parts[n], 4) : b.Read(s, parts[n], 4);
    }
  }
  instr->kind = Kind::kWarpSync;
  if (k16)
    instr->run = bf16 ? Mma<BF16, 16> : Mma<F16, 16>;
  else
    instr->run = bf16 ? Mma<BF16, 8> : Mma<F16, 8>;
}

void DecodeLdmatrix(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  DecodeMatrixAccess(s, b, instr, s.operands[0], s.operands[1], false);
  instr->run = Ldmatrix;
}

void DecodeStmatrix(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  DecodeMatrixAccess(s, b, instr, s.operands[1], s.operands[0], true);
  instr->run = Stmatrix;
}

void DecodeMovmatrix(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  DecodeOperands(s, b, instr, 4);
  instr->kind = Kind::kWarpSync;
  instr->run = Movmatrix;
}

}  // namespace ptxsim
