// cp.async: copies from global to shared memory that a lane starts now and waits for later. To make a missing
// wait visible, the destination holds 0xff until the wait, and the source is read only then.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/decoders.h"
#include "ops/memory_access.h"

namespace ptxsim {
namespace {

constexpr size_t kSourceRef = 11;

// r[kAddressRef]: shared destination; r[kSourceRef]: global source, with its offset in `target`'s place in
// r[10] as a constant; r[9]: bytes to read, the rest being zeros; r[8]: a predicate that asks for zeros only.
void CopyAsync(Warp& w, const Instr& i, uint32_t lanes) {
  const unsigned bytes = i.vec;
  uint64_t to[kWarpSize], from[kWarpSize], source[kWarpSize];
  Addresses(w, i, to);
  const uint64_t *base = w.At<uint64_t>(i.r[kSourceRef]), *offset = w.At<uint64_t>(i.r[10]);
  const uint32_t* size = w.At<uint32_t>(i.r[9]);
  const uint32_t ignored = i.sub != 0 ? *w.At<uint32_t>(i.r[8]) ^ static_cast<uint32_t>(i.target) : 0;
  uint32_t reading = 0, partly = 0;
  for (int l = 0; l < kWarpSize; ++l) {
    from[l] = source[l] = base[l] + offset[l];
    if (lanes >> l & 1 && size[l] != 0 && !(ignored >> l & 1)) reading |= 1u << l;
    if (reading >> l & 1 && size[l] < bytes) partly |= 1u << l;
    if (lanes >> l & 1 && size[l] > bytes) return Fault(w, i, l, "cp.async reads more than it copies");
  }
  const uint64_t shared = reinterpret_cast<uint64_t>(w.block->shared.data());
  if (reading & ~partly && !Locate(w, i, reading & ~partly, Space::kGlobal, from, bytes, false)) return;
  for (uint32_t rest = partly; rest != 0;
       rest &= rest - 1) {  // fewer bytes are read than the alignment asks for
    int l = std::countr_zero(rest);
    if (source[l] % bytes != 0) return Fault(w, i, l, "misaligned cp.async source");
    uint64_t last[kWarpSize] = {};
    last[l] = source[l] + size[l] - 1;
    if (!Locate(w, i, rest & -rest, Space::kGlobal, from, 1, false)) return;
    if (!Locate(w, i, rest & -rest, Space::kGlobal, last, 1, false)) return;
  }
  if (!Locate(w, i, lanes, Space::kShared, to, bytes, true)) return;
  AccessKind read, write;
  read.read = true;
  write.write = write.starts_flight = true;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    int l = std::countr_zero(rest);
    bool reads = reading >> l & 1;
    if (FullChecks(w)) {
      if (reads) CheckAccess(w, i, l, Space::kGlobal, source[l], size[l], read);
      CheckAccess(w, i, l, Space::kShared, to[l], bytes, write);
    }
    std::memset(reinterpret_cast<void*>(to[l]), 0xff, bytes);
    w.copies.push_back({static_cast<uint32_t>(to[l] - shared), static_cast<uint8_t>(bytes),
                        static_cast<uint8_t>(reads ? size[l] : 0), static_cast<uint8_t>(l),
                        reinterpret_cast<const std::byte*>(source[l]), w.committed[static_cast<size_t>(l)]});
  }
}

void Commit(Warp& w, const Instr&, uint32_t lanes) {
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1)
    ++w.committed[static_cast<size_t>(std::countr_zero(rest))];
}

void Land(Warp& w, const Instr& i, const PendingCopy& copy) {
  std::byte* to = &w.block->shared[copy.to];
  if (copy.valid != 0) std::memcpy(to, copy.from, copy.valid);
  std::memset(to + copy.valid, 0, static_cast<size_t>(copy.bytes - copy.valid));
  if (!FullChecks(w)) return;
  AccessKind kind;
  kind.write = true;
  CheckAccess(w, i, copy.lane, Space::kShared, reinterpret_cast<uint64_t>(to), copy.bytes, kind);
}

// wait_group N: all but the last N groups of each lane; wait_all (sub): everything, committed or not.
void Wait(Warp& w, const Instr& i, uint32_t lanes) {
  size_t kept = 0;
  for (size_t n = 0; n < w.copies.size(); ++n) {
    const PendingCopy copy = w.copies[n];
    int64_t done = i.sub != 0 ? int64_t{1} << 40 : int64_t{w.committed[copy.lane]} - i.imm;
    if (lanes >> copy.lane & 1 && int64_t{copy.group} < done)
      Land(w, i, copy);
    else
      w.copies[kept++] = copy;
  }
  w.copies.resize(kept);
}

}  // namespace

void DecodeCp(const Statement& s, Builder& b, Instr* instr) {
  if (!s.Has("async") || s.Has("bulk") || s.Has("mbarrier")) s.Fail("this form is not supported");
  if (s.Has("commit_group")) {
    instr->run = Commit;
    return;
  }
  if (s.Has("wait_group") || s.Has("wait_all")) {
    instr->sub = s.Has("wait_all");
    if (instr->sub == 0) instr->imm = static_cast<int64_t>(s.operands.at(0).value);
    instr->run = Wait;
    return;
  }
  if (s.operands.size() < 3 || s.operands[2].kind != Operand::kImmediate) s.Fail("expected a constant size");
  instr->vec = static_cast<uint8_t>(s.operands[2].value);
  if (instr->vec != 4 && instr->vec != 8 && instr->vec != 16) s.Fail("a size other than 4, 8 or 16");
  if (s.Has("cg") && instr->vec != 16) s.Fail("cp.async.cg copies 16 bytes");
  Instr source = *instr;
  DecodeAddress(s, b, &source, s.operands[1], kSourceRef);
  if (!source.wide_address) s.Fail("a 32-bit global address");
  DecodeAddress(s, b, instr, s.operands[0]);
  instr->r[kSourceRef] = source.r[kSourceRef];
  Operand constant;
  constant.value = static_cast<uint64_t>(source.imm);
  instr->r[10] = b.Read(s, constant, 8);
  constant.value = instr->vec;
  instr->r[9] = b.Read(s, constant, 4);
  if (s.operands.size() > 3) {
    const Operand& extra = s.operands[3];
    instr->sub = extra.kind == Operand::kRegister && extra.type == Type::kPred;
    if (instr->sub != 0)
      instr->r[8] = b.Read(s, extra, 0), instr->target = extra.negated ? -1 : 0;
    else
      instr->r[9] = b.Read(s, extra, 4);
  }
  instr->run = CopyAsync;
}

}  // namespace ptxsim
