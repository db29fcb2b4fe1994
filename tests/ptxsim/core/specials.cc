#include "core/specials.h"

#include <array>

namespace ptxsim {
namespace {

constexpr std::array<std::string_view, 28> kNames = {
    "%tid.x",
    "%tid.y",
    "%tid.z",
    "%ntid.x",
    "%ntid.y",
    "%ntid.z",
    "%ctaid.x",
    "%ctaid.y",
    "%ctaid.z",
    "%nctaid.x",
    "%nctaid.y",
    "%nctaid.z",
    "%laneid",
    "%warpid",
    "%lanemask_eq",
    "%lanemask_lt",
    "%lanemask_le",
    "%lanemask_gt",
    "%lanemask_ge",
    "%smid",
    "%nsmid",
    "%nwarpid",
    "%dynamic_smem_size",
    "%total_smem_size",
    "%clock",
    "%clock_hi",
    "%globaltimer_lo",
    "%gridid",
};
constexpr std::array<std::string_view, 2> kWideNames = {"%clock64", "%globaltimer"};
constexpr uint32_t kSlot = 256;

uint32_t* Slot(std::byte* file, size_t index) { return reinterpret_cast<uint32_t*>(file + index * kSlot); }

}  // namespace

bool FindSpecial(std::string_view name, Ref* ref, Type* type) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != name) continue;
    *ref = {static_cast<uint32_t>(i * kSlot), kSpecials};
    *type = Type::kB32;
    return true;
  }
  for (size_t i = 0; i < kWideNames.size(); ++i) {
    if (kWideNames[i] != name) continue;
    *ref = {static_cast<uint32_t>((kNames.size() + i) * kSlot), kSpecials};
    *type = Type::kB64;
    return true;
  }
  return false;
}

void FillSpecials(std::byte* file, const Launch& launch, int warp) {
  const Dim3 &t = launch.block, &g = launch.grid;
  const uint32_t uniform[] = {t.x, t.y, t.z, 0, 0, 0, g.x, g.y, g.z};
  const uint32_t warps = static_cast<uint32_t>((t.count() + kWarpSize - 1) / kWarpSize);
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    uint32_t thread = static_cast<uint32_t>(warp) * kWarpSize + lane, bit = 1u << lane;
    Slot(file, 0)[lane] = thread % t.x;
    Slot(file, 1)[lane] = thread / t.x % t.y;
    Slot(file, 2)[lane] = thread / t.x / t.y;
    for (size_t i = 0; i < std::size(uniform); ++i) Slot(file, 3 + i)[lane] = uniform[i];
    const uint32_t others[] = {lane,
                               static_cast<uint32_t>(warp),
                               bit,
                               bit - 1,
                               bit | (bit - 1),
                               ~(bit | (bit - 1)),
                               ~(bit - 1),
                               0,
                               static_cast<uint32_t>(GetOptions().multiprocessors),
                               warps,
                               launch.dynamic_shared,
                               launch.kernel->static_shared + launch.dynamic_shared,
                               0,
                               0,
                               0,
                               0};
    for (size_t i = 0; i < std::size(others); ++i) Slot(file, 12 + i)[lane] = others[i];
  }
}

void SetBlockSpecials(std::byte* file, Dim3 index) {
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    Slot(file, 6)[lane] = index.x;
    Slot(file, 7)[lane] = index.y;
    Slot(file, 8)[lane] = index.z;
  }
}

}  // namespace ptxsim
