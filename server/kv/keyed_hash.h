// A hash that nobody without the key can find collisions of.
#ifndef HYDRAD_SERVER_KV_KEYED_HASH_H_
#define HYDRAD_SERVER_KV_KEYED_HASH_H_

#include <cstdint>
#include <span>

namespace hydrad {

// Whoever can guess the key can make everybody's lookups slow, so it is drawn anew for each process. The
// default is for those to whom that does not matter.
struct HashKey {
  uint64_t low = 0, high = 0;

  // From the operating system's randomness.
  static HashKey Random();
};

// SipHash-2-4 of the bytes of `first` and then of `rest`, least significant byte first. Equal on all
// machines.
uint64_t KeyedHash(const HashKey& key, uint64_t first, std::span<const int32_t> rest);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_KV_KEYED_HASH_H_
