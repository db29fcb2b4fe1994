#include "core/registers.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

namespace ptxsim {
namespace {

constexpr int kNone = -1;

using Bits = std::vector<uint64_t>;

bool Test(const Bits& b, size_t n) { return b[n / 64] >> (n % 64) & 1; }
void Set(Bits* b, size_t n) { (*b)[n / 64] |= uint64_t{1} << (n % 64); }
void Reset(Bits* b, size_t n) { (*b)[n / 64] &= ~(uint64_t{1} << (n % 64)); }

// A basic block: instructions [begin, end), and the blocks control goes to from its end.
struct BasicBlock {
  int begin, end;
  std::vector<int> next;
  Bits live_in, live_out;
};

struct Register {
  uint32_t offset;  // before
  int bytes;
  int first = 1 << 30, last = kNone;  // instructions between which it may be live
};

class Compactor {
 public:
  Compactor(Kernel* kernel, const std::vector<Effects>& effects) : kernel_(*kernel), effects_(effects) {}

  void Run() {
    NumberRegisters();
    FindBlocks();
    Solve();
    FindIntervals();
    Assign();
    Rewrite();
  }

 private:
  void NumberRegisters() {
    for (const Effects& e : effects_) {
      for (const auto* list : {&e.reads, &e.writes}) {
        for (const Effects::Use& u : *list) {
          if (index_.emplace(u.offset, registers_.size()).second) registers_.push_back({u.offset, u.bytes});
        }
      }
    }
  }

  std::vector<int> Targets(int pc) const {
    const Instr& i = kernel_.code[static_cast<size_t>(pc)];
    std::vector<int> targets;
    if (i.kind == Kind::kBranch) targets.push_back(i.target);
    if (i.kind == Kind::kBranchTable) {
      const auto& table = kernel_.tables[static_cast<size_t>(i.target)];
      targets.assign(table.begin(), table.end());
    }
    bool ends = i.kind == Kind::kBranch || i.kind == Kind::kBranchTable || i.kind == Kind::kReturn ||
                i.kind == Kind::kExit;
    if ((!ends || i.guarded) && pc + 1 < static_cast<int>(kernel_.code.size())) targets.push_back(pc + 1);
    return targets;
  }

  static bool IsJump(const Instr& i) {
    return i.kind == Kind::kBranch || i.kind == Kind::kBranchTable || i.kind == Kind::kReturn ||
           i.kind == Kind::kExit;
  }

  void FindBlocks() {
    const int count = static_cast<int>(kernel_.code.size());
    std::set<int> starts{0};
    for (int pc = 0; pc < count; ++pc) {
      if (!IsJump(kernel_.code[static_cast<size_t>(pc)])) continue;
      for (int target : Targets(pc)) starts.insert(target);
      if (pc + 1 < count) starts.insert(pc + 1);
    }
    std::map<int, int> block_of;
    for (int start : starts) {
      block_of[start] = static_cast<int>(blocks_.size());
      blocks_.push_back(
          {start, count, {}, Bits(registers_.size() / 64 + 1), Bits(registers_.size() / 64 + 1)});
      if (blocks_.size() > 1) blocks_[blocks_.size() - 2].end = start;
    }
    for (BasicBlock& b : blocks_) {
      for (int target : Targets(b.end - 1)) b.next.push_back(block_of[target]);
    }
  }

  // What lives before the block, given what lives behind it. A guarded write leaves the old value to some
  // lanes.
  Bits Before(const BasicBlock& b) const {
    Bits live = b.live_out;
    for (int pc = b.end - 1; pc >= b.begin; --pc) {
      const Effects& e = effects_[static_cast<size_t>(pc)];
      if (!kernel_.code[static_cast<size_t>(pc)].guarded) {
        for (const auto& u : e.writes) Reset(&live, index_.at(u.offset));
      }
      for (const auto& u : e.reads) Set(&live, index_.at(u.offset));
    }
    return live;
  }

  void Solve() {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t n = blocks_.size(); n-- > 0;) {
        BasicBlock& b = blocks_[n];
        for (int next : b.next) {
          const Bits& in = blocks_[static_cast<size_t>(next)].live_in;
          for (size_t w = 0; w < in.size(); ++w) b.live_out[w] |= in[w];
        }
        Bits before = Before(b);
        changed |= before != b.live_in;
        b.live_in = std::move(before);
      }
    }
  }

  void Extend(size_t r, int pc) {
    registers_[r].first = std::min(registers_[r].first, pc);
    registers_[r].last = std::max(registers_[r].last, pc);
  }

  void FindIntervals() {
    for (const BasicBlock& b : blocks_) {
      for (size_t r = 0; r < registers_.size(); ++r) {
        if (Test(b.live_in, r)) Extend(r, b.begin);
        if (Test(b.live_out, r)) Extend(r, b.end - 1);
      }
    }
    for (size_t pc = 0; pc < effects_.size(); ++pc) {
      for (const auto* list : {&effects_[pc].reads, &effects_[pc].writes}) {
        for (const auto& u : *list) Extend(index_.at(u.offset), static_cast<int>(pc));
      }
    }
  }

  // Linear scan: a place is free again behind the last instruction of its register.
  void Assign() {
    std::vector<size_t> order(registers_.size());
    for (size_t r = 0; r < order.size(); ++r) order[r] = r;
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return registers_[a].first < registers_[b].first; });
    std::multimap<int, size_t> active;          // by last instruction
    std::map<int, std::vector<uint32_t>> free;  // by width
    places_.resize(registers_.size());
    for (size_t r : order) {
      while (!active.empty() && active.begin()->first < registers_[r].first) {
        size_t done = active.begin()->second;
        free[registers_[done].bytes].push_back(places_[done]);
        active.erase(active.begin());
      }
      auto& list = free[registers_[r].bytes];
      if (list.empty()) list.push_back(NewPlace(registers_[r].bytes));
      places_[r] = list.back();
      list.pop_back();
      active.emplace(registers_[r].last, r);
    }
  }

  uint32_t NewPlace(int bytes) {
    uint32_t align = bytes == 0 ? 4 : 64, at = (size_ + align - 1) / align * align;
    size_ = at + (bytes == 0 ? 4 : static_cast<uint32_t>(kWarpSize * bytes));
    return at;
  }

  void Move(Ref* ref) const {
    if (ref->file != kRegisters) return;
    auto it = index_.find(ref->offset);
    if (it != index_.end()) ref->offset = places_[it->second];
  }

  void Rewrite() {
    for (Instr& i : kernel_.code) {
      for (Ref& ref : i.r) Move(&ref);
      if (i.guarded) Move(&i.guard);
    }
    kernel_.register_bytes = size_ + 64;
  }

  Kernel& kernel_;
  const std::vector<Effects>& effects_;
  std::vector<Register> registers_;
  std::unordered_map<uint32_t, size_t> index_;
  std::vector<BasicBlock> blocks_;
  std::vector<uint32_t> places_;
  uint32_t size_ = 0;
};

}  // namespace

void CompactRegisters(Kernel* kernel, const std::vector<Effects>& effects) {
  if (kernel->calls.empty()) Compactor(kernel, effects).Run();
}

}  // namespace ptxsim
