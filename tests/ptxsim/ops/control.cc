// Control flow and barriers. The scheduler (core/warp.cc) does the work; here the operands are laid out for
// it.
#include <bit>
#include <cstring>

#include "ops/decoders.h"
#include "ops/memory_access.h"

namespace ptxsim {
namespace {

std::string TextAt(uint64_t address) {  // a string of the module, as __assertfail gets it
  std::string text;
  for (const char* p = reinterpret_cast<const char*>(address); address != 0 && *p != 0 && text.size() < 200;
       ++p)
    text += *p;
  return text;
}

// __assertfail(message, file, line, function, size of a character); r is unused, the argument places are in
// imm.
void AssertFailed(Warp& w, const Instr& i, uint32_t lanes) {
  int lane = std::countr_zero(lanes);
  const Block& block = *w.block;
  const std::byte* local = &block.local[static_cast<size_t>(w.Thread(lane)) * block.kernel->local_bytes];
  uint64_t message = 0;
  std::memcpy(&message, local + i.imm, sizeof(message));
  Fault(w, i, lane, "assertion failed: " + TextAt(message));
}

void Nothing(Warp&, const Instr&, uint32_t) {}

}  // namespace

void DecodeNothing(const Statement&, Builder&, Instr* instr) { instr->run = Nothing; }

void DecodeBra(const Statement& s, Builder& b, Instr* instr) {
  if (s.operands.size() != 1 || s.operands[0].kind != Operand::kName) s.Fail("expected a label");
  instr->kind = Kind::kBranch;
  b.BranchTo(s, s.operands[0].name, instr);
}

void DecodeBrx(const Statement& s, Builder& b, Instr* instr) {
  RequireOperands(s, 2);
  instr->kind = Kind::kBranchTable;
  instr->r[0] = b.Read(s, s.operands[0], 4);
  b.BranchTableOf(s, s.operands[1].name, instr);
}

void DecodeCall(const Statement& s, Builder& b, Instr* instr) {
  std::string_view callee = s.operands[0].name;
  if (callee == "vprintf") {
    instr->run = Nothing;
  } else if (callee == "__assertfail") {
    instr->imm = static_cast<int64_t>(s.operands[2].parts.at(0).value);
    instr->run = AssertFailed;
  } else if (callee[0] == '%') {
    s.Fail("indirect calls are not supported");
  } else {
    b.CallOf(s, instr);
  }
}

void DecodeRet(const Statement&, Builder&, Instr* instr) { instr->kind = Kind::kReturn; }
void DecodeExit(const Statement&, Builder&, Instr* instr) { instr->kind = Kind::kExit; }

void DecodeTrap(const Statement&, Builder&, Instr* instr) {
  instr->run = [](Warp& w, const Instr& i, uint32_t lanes) { Fault(w, i, std::countr_zero(lanes), "trap"); };
}

// bar.sync id [, count]; bar.arrive id, count; bar.red.op d, id [, count], p; bar.warp.sync mask.
// r: 0 = d, 1 = p, 2 = id, 3 = count. sub: 0 sync, 1 popc, 2 and, 3 or, 4 arrive. count: 1, or 2 with a
// thread count.
void DecodeBar(const Statement& s, Builder& b, Instr* instr) {
  if (s.Has("cluster")) s.Fail("clusters are not supported");
  if (s.Has("warp")) {
    RequireOperands(s, 1);
    instr->kind = Kind::kWarpSync;
    instr->masked = true;
    instr->r[13] = b.Read(s, s.operands[0], 4);
    instr->run = [](Warp& w, const Instr&, uint32_t) {
      if (FullChecks(w)) RaceChecker::Get().SyncWarp(w);
    };
    return;
  }
  instr->kind = Kind::kBarrier;
  instr->sub = s.Has("arrive") ? 4 : !s.Has("red") ? 0 : s.Has("popc") ? 1 : s.Has("and") ? 2 : 3;
  std::vector<Operand> operands = s.operands;
  if (s.Has("red")) {
    if (operands.size() < 3) s.Fail("expected a destination, a barrier and a predicate");
    instr->r[0] = b.Write(s, operands[0], instr->sub == 1 ? 4 : 0);
    instr->r[1] = b.Read(s, operands.back(), 0);
    instr->imm = operands.back().negated ? -1 : 0;
    operands = {operands.begin() + 1, operands.end() - 1};
  }
  if (operands.empty() || operands.size() > 2) s.Fail("expected a barrier and perhaps a count");
  instr->count = static_cast<uint8_t>(operands.size());
  for (size_t n = 0; n < operands.size(); ++n) instr->r[2 + n] = b.Read(s, operands[n], 4);
}

}  // namespace ptxsim
