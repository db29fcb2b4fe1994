// What handlers are made of: loops over the lanes of a warp, written so that the compiler can vectorise them.
#pragma once

#include <type_traits>

#include "core/exec.h"
#include "core/statement.h"

namespace ptxsim {

// Calls body(lane) for every lane in `lanes`. The body may not depend on the order.
template <class Body>
[[gnu::always_inline]] inline void ForLanes(uint32_t lanes, Body body) {
  if (lanes == kAllLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kWarpSize; ++lane) body(lane);
  } else {
#pragma GCC ivdep
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (lanes >> lane & 1) body(lane);
    }
  }
}

template <class T>
struct IsPair : std::false_type {};
template <class T>
struct IsPair<Pair<T>> : std::true_type {};

// F over values, or over each half of packed ones.
template <class T, auto F, class... Args>
[[gnu::always_inline]] inline T Apply(Args... args) {
  if constexpr (IsPair<T>::value) {
    using Half = decltype(T{}.lo);
    return {Apply<Half, F>(args.lo...), Apply<Half, F>(args.hi...)};
  } else {
    return static_cast<T>(F(args...));
  }
}

template <class T, auto F>
void Map1(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T* a = w.At<T>(i.r[1]);
  ForLanes(lanes, [=](int l) { d[l] = Apply<T, F>(a[l]); });
}

template <class T, auto F>
void Map2(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T *a = w.At<T>(i.r[1]), *b = w.At<T>(i.r[2]);
  ForLanes(lanes, [=](int l) { d[l] = Apply<T, F>(a[l], b[l]); });
}

template <class T, auto F>
void Map3(Warp& w, const Instr& i, uint32_t lanes) {
  T* d = w.At<T>(i.r[0]);
  const T *a = w.At<T>(i.r[1]), *b = w.At<T>(i.r[2]), *c = w.At<T>(i.r[3]);
  ForLanes(lanes, [=](int l) { d[l] = Apply<T, F>(a[l], b[l], c[l]); });
}

// The handler Map<T, F> for an integer type, null for another.
template <auto F>
Handler IntMap1(Type t) {
  switch (t) {
    case Type::kS16:
      return Map1<int16_t, F>;
    case Type::kS32:
      return Map1<int32_t, F>;
    case Type::kS64:
      return Map1<int64_t, F>;
    case Type::kU16:
    case Type::kB16:
      return Map1<uint16_t, F>;
    case Type::kU32:
    case Type::kB32:
      return Map1<uint32_t, F>;
    case Type::kU64:
    case Type::kB64:
      return Map1<uint64_t, F>;
    default:
      return nullptr;
  }
}

template <auto F>
Handler IntMap2(Type t) {
  switch (t) {
    case Type::kS16:
      return Map2<int16_t, F>;
    case Type::kS32:
      return Map2<int32_t, F>;
    case Type::kS64:
      return Map2<int64_t, F>;
    case Type::kU16:
    case Type::kB16:
      return Map2<uint16_t, F>;
    case Type::kU32:
    case Type::kB32:
      return Map2<uint32_t, F>;
    case Type::kU64:
    case Type::kB64:
      return Map2<uint64_t, F>;
    default:
      return nullptr;
  }
}

template <auto F>
Handler IntMap3(Type t) {
  switch (t) {
    case Type::kS16:
      return Map3<int16_t, F>;
    case Type::kS32:
      return Map3<int32_t, F>;
    case Type::kS64:
      return Map3<int64_t, F>;
    case Type::kU16:
    case Type::kB16:
      return Map3<uint16_t, F>;
    case Type::kU32:
    case Type::kB32:
      return Map3<uint32_t, F>;
    case Type::kU64:
    case Type::kB64:
      return Map3<uint64_t, F>;
    default:
      return nullptr;
  }
}

// Writes predicate bits of the active lanes only.
inline void SetPredicate(Warp& w, Ref ref, uint32_t lanes, uint32_t bits) {
  uint32_t* d = w.At<uint32_t>(ref);
  *d = (*d & ~lanes) | (bits & lanes);
}

// Decodes "d, a, b, ..." where every operand has `bytes` per lane.
inline void DecodeOperands(const Statement& s, Builder& b, Instr* instr, int bytes) {
  if (s.operands.empty() || s.operands.size() > 13) s.Fail("unexpected number of operands");
  instr->r[0] = b.Write(s, s.operands[0], bytes);
  for (size_t n = 1; n < s.operands.size(); ++n) instr->r[n] = b.Read(s, s.operands[n], bytes);
}

inline void RequireOperands(const Statement& s, size_t count) {
  if (s.operands.size() != count) s.Fail("expected " + std::to_string(count) + " operands");
}

inline void SetHandler(const Statement& s, Instr* instr, Handler handler) {
  if (handler == nullptr) s.Fail("this form is not supported");
  instr->run = handler;
}

}  // namespace ptxsim
