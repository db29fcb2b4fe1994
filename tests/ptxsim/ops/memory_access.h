// How handlers reach memory: from the lanes' addresses to host pointers, with every check on the way.
#pragma once

#include "ops/lanes.h"

namespace ptxsim {

inline constexpr size_t kAddressRef = 12;  // Instr::r of the address register

// Decodes "[register + offset]" or "[variable + offset]" into r[ref], imm and wide_address.
void DecodeAddress(const Statement& s, Builder& b, Instr* instr, const Operand& operand,
                   size_t ref = kAddressRef);

// The state space that the modifiers name; kGeneric if none.
Space ParseSpace(const Statement& s);

// Volatile, relaxed and so on, and whether a fence goes with the access.
void ParseOrder(const Statement& s, Instr* instr);

// address[lane] = register + offset, for all lanes.
void Addresses(Warp& w, const Instr& i, uint64_t* address, size_t ref = kAddressRef);

// Which lanes of `lanes` address the same space as its first one, and that space: resolves kGeneric, leaves
// the addresses of shared and local memory as offsets.
uint32_t SameSpace(Warp& w, uint32_t lanes, uint64_t* address, Space declared, Space* space);

// Checks alignment and bounds of the lanes' accesses, counts them, and turns the addresses into host
// pointers. False if one of them is wrong: then the kernel is stopped.
bool Locate(Warp& w, const Instr& i, uint32_t lanes, Space space, uint64_t* address, unsigned bytes,
            bool write);

// The checks of Checks::kFull for one lane; `pointer` comes from Locate.
void CheckAccess(Warp& w, const Instr& i, int lane, Space space, uint64_t pointer, unsigned bytes,
                 const AccessKind& kind);

inline bool FullChecks(const Warp& w) { return w.block->launch->checks == Checks::kFull; }

}  // namespace ptxsim
