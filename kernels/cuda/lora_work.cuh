// How the two adapter kernels walk their work, the same way in every block, and the tables that it comes
// from.
#ifndef HYDRAD_KERNELS_CUDA_LORA_WORK_CUH_
#define HYDRAD_KERNELS_CUDA_LORA_WORK_CUH_

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

namespace hydrad::cuda {

inline constexpr int kLoraThreads = 128;

// Classes of tiles, in the order of LoraPlan::tile_count.
enum LoraTileClass { kShortRun, kSplitRun, kLongRun };

// The block's share of the pieces of work of a class: consecutive ones, so that what pieces of a tile have in
// common is read once. Shares of a class differ by one piece at most, and the blocks that have one more are
// not those that have one more of the class before: `first_block`, 0 at first, is where they begin.
struct LoraShare {
  int begin, end;
};
__device__ __forceinline__ LoraShare TakeShare(int pieces, int* first_block) {
  const int blocks = gridDim.x, each = pieces / blocks, rest = pieces % blocks;
  const int block = (static_cast<int>(blockIdx.x) + blocks - *first_block) % blocks;
  const int begin = block * each + min(block, rest);
  *first_block = (*first_block + rest) % blocks;
  return {begin, begin + each + (block < rest)};
}

// The group of the run's adapter at the site, null if it has no table.
__device__ __forceinline__ const LoraGroup* GroupAt(const LoraRun& run, const LoraSite& site) {
  const LoraGroup* groups = run.by_layer != nullptr ? run.by_layer[site.layer] : run.groups;
  return groups == nullptr ? nullptr : groups + site.layer * site.kinds + site.kind;
}

// What the plan says about one tile.
struct LoraTables {
  Table<LoraTile> tile;
  Table<LoraRun> run;
  Table<LoraGroup> group;

  // Of tile `index`; false if its adapter leaves the site alone. By all threads together, and with barriers
  // of its own: what they did before is done, and the tables can be used.
  __device__ bool Read(const LoraPlan& plan, int index, const LoraSite& site) {
    __syncthreads();
    tile.Read(plan.tiles + index);
    __syncthreads();
    run.Read(plan.runs + tile->run);
    __syncthreads();
    const LoraGroup* from = GroupAt(*run, site);
    if (from == nullptr) return false;
    group.Read(from);
    __syncthreads();
    return group->member_count > 0;
  }
};

}  // namespace hydrad::cuda

#endif  // HYDRAD_KERNELS_CUDA_LORA_WORK_CUH_
