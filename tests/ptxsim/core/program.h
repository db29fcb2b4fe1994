// What a kernel is after parsing: a flat array of decoded instructions over a register file.
//
// Every operand is resolved to a place before the first instruction runs. A place (Ref) names one of three
// files and a byte offset in it: the warp's registers, the kernel's constants, and the warp's special
// registers (%tid and the like). In each of them a value of B bytes is an array of 32 lanes, 32 * B bytes, so
// that an instruction is one loop over lanes that the compiler can vectorise. A predicate is a 32-bit mask.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/ptx_types.h"

namespace ptxsim {

struct Warp;
struct Instr;

// Executes one instruction for the lanes in `lanes` (never empty).
using Handler = void (*)(Warp& warp, const Instr& instr, uint32_t lanes);

enum File : uint32_t { kRegisters, kConstants, kSpecials };

struct Ref {
  uint32_t offset : 30 = 0;
  uint32_t file : 2 = kRegisters;
};

// What the scheduler must know of an instruction; everything else is the handler's.
enum class Kind : uint8_t {
  kPlain,        // run the handler, go on
  kBranch,       // to `target`
  kBranchTable,  // to tables[target][r[0]]
  kCall,         // calls[target]
  kReturn,       // from a device function, or the end of the thread in a kernel
  kExit,
  kBarrier,   // lanes wait for the block
  kWarpSync,  // the handler runs when all lanes that it names have arrived
};

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam, kConst };

struct Instr {
  Handler run = nullptr;
  std::array<Ref, 14> r{};
  int64_t imm = 0;      // offset of an address, or what the handler wants
  int32_t target = -1;  // see Kind
  Ref guard{};          // predicate; meaningful if `guarded`
  Kind kind = Kind::kPlain;
  bool guarded = false;
  bool guard_negated = false;
  Type type = Type::kNone;
  Space space = Space::kGeneric;
  uint8_t vec = 1;           // elements of a vector access; matrices of an ldmatrix
  uint8_t sub = 0;           // variant within the opcode
  uint8_t count = 0;         // operands, where optional ones exist
  bool wide_address = true;  // the address register has 64 bits
  bool strong = false;       // volatile, relaxed or stronger: not a data race against atomics
  bool acquire_release = false;
  bool masked = false;  // kWarpSync: r[13] is the membermask, else all living lanes are meant
  int32_t place = 0;    // index into Kernel::places
  int32_t line = 0;     // in the PTX text
};

// Where in the program's source an instruction comes from; empty file: built without -lineinfo.
struct Place {
  std::string file;
  int line = 0;
  std::string outer_file;  // the line of the kernel itself, where the code was inlined from elsewhere
  int outer_line = 0;
};

struct Param {
  uint32_t offset, bytes;
};

struct Extent {
  uint32_t offset, bytes;
};

// A call of a device function. Arguments and results live in the thread's local memory: static places, so a
// function cannot be re-entered (recursion is refused when the kernel is built).
struct CallSite {
  struct Move {
    uint32_t from, to, bytes;
  };
  std::vector<Move> arguments, results;
  int32_t entry = 0;     // first instruction of the function
  Ref return_address{};  // of the function: per lane, where to go on
};

struct Kernel {
  std::string name;
  std::string demangled;
  std::vector<Instr> code;
  int entry = 0;
  std::vector<std::string> opcodes;  // [code] as written, e.g. "ld.global.v4.u32"
  std::vector<Place> places;
  std::vector<std::vector<int32_t>> tables;
  std::vector<CallSite> calls;
  std::vector<std::byte> constants;
  uint32_t register_bytes = 0;
  uint32_t local_bytes = 0;
  uint32_t static_shared = 0;       // declared bytes, as cudaFuncGetAttributes would say
  uint32_t shared_end = 0;          // first offset after the static variables and their red zones
  std::vector<Extent> shared_vars;  // what may be touched of the static part
  std::vector<Param> params;
  uint32_t param_bytes = 0;
  uint32_t max_threads = 1024;  // .maxntid
};

}  // namespace ptxsim
