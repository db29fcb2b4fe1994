// How the two adapter kernels walk their work: a flat list, cut the same way by every block.
#ifndef HYDRAD_KERNELS_CUDA_LORA_WORK_CUH_
#define HYDRAD_KERNELS_CUDA_LORA_WORK_CUH_

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {

inline constexpr int kLoraThreads = 128;

// Classes of tiles, in the order of LoraPlan::tile_count.
enum LoraTileClass { kShortRun, kSplitRun, kLongRun };

struct LoraWork {
  int tile;   // in the plan
  int index;  // among the tile's pieces of work
  LoraTileClass kind;
};

// Piece `work` of a list in which every tile of class c has pieces[c] pieces; false beyond its end.
__device__ __forceinline__ bool FindLoraWork(const LoraPlan* plan, const int (&pieces)[3], int work,
                                             LoraWork* found) {
  int first_tile = 0;
#pragma unroll
  for (int kind = 0; kind < 3; ++kind) {
    const int tiles = plan->tile_count[kind];
    if (work < tiles * pieces[kind]) {
      *found = {first_tile + work / pieces[kind], work % pieces[kind], static_cast<LoraTileClass>(kind)};
      return true;
    }
    work -= tiles * pieces[kind];
    first_tile += tiles;
  }
  return false;
}

// The group of the run's adapter at the site, null if it leaves it alone.
__device__ __forceinline__ const LoraGroup* GroupAt(const LoraRun& run, const LoraSite& site) {
  const LoraGroup* groups = run.by_layer != nullptr ? run.by_layer[site.layer] : run.groups;
  if (groups == nullptr) return nullptr;
  groups += site.layer * site.kinds + site.kind;
  return groups->member_count > 0 ? groups : nullptr;
}

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_LORA_WORK_CUH_
