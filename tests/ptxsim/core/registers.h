// Gives the registers of a kernel a small file. PTX names thousands of registers, each written once; a warp's
// copy of them all would be megabytes and every operand a cache miss. Registers that do not live at the same
// time share a place.
#pragma once

#include <cstdint>
#include <vector>

#include "core/program.h"

namespace ptxsim {

// What one instruction does to registers, named by their offset in the register file.
struct Effects {
  struct Use {
    uint32_t offset;
    int bytes;  // per lane; 0: a predicate
  };
  std::vector<Use> reads, writes;
};

// Rewrites every register operand of `kernel` and its register_bytes. `effects` goes with kernel->code. A
// kernel that calls functions is left as it is.
void CompactRegisters(Kernel* kernel, const std::vector<Effects>& effects);

}  // namespace ptxsim
