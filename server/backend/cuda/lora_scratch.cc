#include "server/backend/cuda/lora_scratch.h"

#include <algorithm>

#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// Of the first space: three projections of rank 64 and their routers.
constexpr int kFirstStride = 256;

int NextStride(int need, int have) {
  if (need <= have) return have;
  return (std::max({need, 2 * have, kFirstStride}) + 7) / 8 * 8;
}

}  // namespace

size_t LoraScratchSpace::BytesAtMost(int rows, int widest) {
  const size_t stride = 2 * static_cast<size_t>(NextStride(2 * widest, 0));
  return rows * stride * (sizeof(float) * cuda::kLoraMaxSplits + sizeof(bf16));
}

absl::Status LoraScratchSpace::WidenFor(const CudaAdapter::Extents& extents) {
  MutexLock lock(&mu_);
  const cuda::LoraScratch have = spaces_.empty() ? cuda::LoraScratch{} : spaces_.back()->view;
  // An adapter of no low rank is launched like any other.
  const int down_rows = std::max({1, extents.head_down_rows, std::ranges::max(extents.down_rows)});
  const int u_stride = NextStride(down_rows, have.u_stride),
            z_stride = NextStride(std::max(1, extents.z_cols), have.z_stride);
  if (u_stride == have.u_stride && z_stride == have.z_stride) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto space, Make(u_stride, z_stride));
  spaces_.push_back(std::move(space));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LoraScratchSpace::Space>> LoraScratchSpace::Make(int u_stride, int z_stride) {
  auto space = std::make_unique<Space>();
  const auto take = [&](size_t bytes) -> absl::StatusOr<void*> {
    ASSIGN_OR_RETURN(auto buffer, memory_.Allocate(bytes, MemoryUse::kScratch));
    space->buffers.push_back(std::move(buffer));
    return space->buffers.back()->data();
  };
  const size_t rows = static_cast<size_t>(rows_);
  const size_t arrivals_bytes = sizeof(int32_t) * cuda::LoraTilesAtMost(rows_, rows_);
  ASSIGN_OR_RETURN(void* const u, take(sizeof(float) * cuda::kLoraMaxSplits * rows * u_stride));
  ASSIGN_OR_RETURN(void* const z, take(sizeof(bf16) * rows * z_stride));
  ASSIGN_OR_RETURN(void* const arrivals, take(arrivals_bytes));
  ASSIGN_OR_RETURN(space->zeroed, MakeEvent());
  RETURN_IF_ERROR(uploader_.Zero(static_cast<std::byte*>(arrivals), arrivals_bytes));
  RETURN_IF_ERROR(uploader_.Mark(space->zeroed.get()));
  space->view = {.u = static_cast<float*>(u),
                 .u_stride = u_stride,
                 .z = static_cast<bf16*>(z),
                 .z_stride = z_stride,
                 .arrivals = static_cast<int32_t*>(arrivals),
                 .rows = rows_,
                 .blocks = blocks_};
  return space;
}

absl::StatusOr<cuda::LoraScratch> LoraScratchSpace::Use(cudaStream_t stream) {
  MutexLock lock(&mu_);
  HYDRAD_CHECK(!spaces_.empty());
  Space& space = *spaces_.back();
  if (!space.awaited)
    RETURN_IF_ERROR(CudaStatus(cudaStreamWaitEvent(stream, space.zeroed.get(), 0), "awaiting scratch"));
  space.awaited = true;
  return space.view;
}

}  // namespace hydrad
