// The eight tile registers of Intel AMX behind one small type with two bodies: the instructions, and a plain
// emulation of them, so that the kernel written over it (amx_kernel.h) is tested on machines without AMX. The
// emulation follows the pseudo-code of TILELOADD, TDPBF16PS and TILESTORED in the Intel architecture manual;
// it sums as TDPBF16PS does (even and odd k apart over a tile, then together) but flushes no denormals.
//
// A tile is 16 rows of 64 bytes. REQUIRES of AmxTiles: the process asked Linux for tile data
// (Supported(Isa::kAmx)); one object per thread at a time: constructing it loads the tile configuration,
// destroying it releases it.
#ifndef HYDRAD_KERNELS_SIMD_AMX_TILES_H_
#define HYDRAD_KERNELS_SIMD_AMX_TILES_H_

#include <cstdint>

#include "kernels/simd/vec.h"

namespace hydrad::simd {

constexpr int kTileSize = 1024;

// Inline assembly instead of the intrinsics: GCC 12's take the register only as a literal, and its
// _tile_loadconfig names 8 of the 64 bytes it reads as input, so that the optimiser may drop the others.
class AmxTiles {
 public:
  AmxTiles() {
    struct alignas(64) Config {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    const Config config;
    asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  ~AmxTiles() { asm volatile("tilerelease" : : : "memory"); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  template <int t>
  [[gnu::always_inline]] void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(t));
  }
  template <int t>
  [[gnu::always_inline]] void Load(const void* from) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(t), "r"(from), "r"(int64_t{64}) : "memory");
  }
  template <int t>
  [[gnu::always_inline]] void Store(float* to) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(t), "r"(to), "r"(int64_t{64}) : "memory");
  }
  // c [16 rows, 16] += a [16 rows, 32 k] * b [16 pairs of k, 16 n x 2].
  template <int c, int a, int b>
  [[gnu::always_inline]] void Multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  }
};

class EmulatedTiles {
 public:
  template <int t>
  void Zero() {
    __builtin_memset(tile_[t], 0, kTileSize);
  }
  template <int t>
  void Load(const void* from) {
    __builtin_memcpy(tile_[t], from, kTileSize);
  }
  template <int t>
  void Store(float* to) {
    __builtin_memcpy(to, tile_[t], kTileSize);
  }
  template <int c, int a, int b>
  void Multiply() {
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 16; ++n) {
        float even = 0, odd = 0;
        for (int k = 0; k < 16; ++k) {
          even += At<bf16>(a, m, 2 * k) * At<bf16>(b, k, 2 * n);
          odd += At<bf16>(a, m, 2 * k + 1) * At<bf16>(b, k, 2 * n + 1);
        }
        const float sum = At<float>(c, m, n) + (even + odd);
        __builtin_memcpy(tile_[c] + m * 64 + n * 4, &sum, 4);
      }
    }
  }

 private:
  template <class T>
  float At(int t, int row, int i) const {
    T x;
    __builtin_memcpy(&x, tile_[t] + row * 64 + i * sizeof(T), sizeof(T));
    return ToFloat(x);
  }
  alignas(64) uint8_t tile_[8][kTileSize] = {};
};

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_AMX_TILES_H_
