// How the simulator is to run. Read from the environment once (README.md lists the variables), changed by
// tests through ptxsim.h.
#pragma once

#include <cstdint>
#include <string>

namespace ptxsim {

enum class Checks {
  kOff,     // an address outside of the device's memory still stops the kernel
  kBounds,  // every access lies within a live allocation or a declared shared variable
  kFull,    // and is free of races, initialised, and not the target of a copy in flight
};

struct Options {
  Checks checks = Checks::kFull;
  bool count = false;                  // memory counters; instructions are always counted
  uint64_t schedule = 0;               // order of blocks and warps: 0 ascending, 1 descending, else a seed
  bool lazy_streams = true;            // work runs when a synchronisation asks for it, not before
  int threads = 2;                     // that run blocks side by side where the checks permit
  uint64_t block_limit = 200'000'000;  // warp instructions of one block before it counts as hung
  uint64_t device_bytes = uint64_t{8} << 30;
  int multiprocessors = 8;
  int compute_capability = 90;
  std::string report;     // JSON lines, one per launch
  std::string fail;       // "CALL:ERROR" or "CALL:ERROR:lost": that call fails, see runtime/injection.h
  std::string fail_file;  // the same for a file that a test writes while the program runs
};

Options& GetOptions();

}  // namespace ptxsim
