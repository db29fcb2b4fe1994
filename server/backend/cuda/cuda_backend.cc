#include "server/backend/cuda/cuda_backend.h"

#include <algorithm>

#include "server/backend/cuda/cuda_backend_impl.h"
#include "server/backend/device_errors.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kPartialsPerRow = 64;  // of attention: a row's heads of one group, times splits of its context

// Bytes that are kept from the KV cache for what steps and adapters may want once serving has begun:
// coefficients of adapters as wide as eight experts of rank 64 on q, k and v, the recorded gates of all rows,
// penalties of every token of the running contexts, masks over a large vocabulary, and tables. What grows is
// taken twice as large as is needed.
size_t ScratchGrowth(const StepLimits& limits) {
  constexpr int kWidest = 8 * 64 * 3 + 3 * 8, kGatesOfLayer = 7 * 8;
  constexpr size_t kTables = size_t{16} << 20, kMaskBytes = (size_t{256} << 10) / 8;
  const size_t rows = static_cast<size_t>(limits.max_rows),
               sequences = static_cast<size_t>(limits.max_logit_rows);
  return LoraScratchSpace::BytesAtMost(limits.max_rows, kWidest) +
         2 * sizeof(float) * rows * limits.layers * kGatesOfLayer +
         2 * sizeof(cuda::SampleEdit) * sequences * limits.max_context + sequences * kMaskBytes + kTables;
}

absl::StatusOr<size_t> Budget(double fraction) {
  size_t free = 0, total = 0;
  RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&free, &total), "asking for the device's memory"));
  return std::min(free, static_cast<size_t>(fraction * static_cast<double>(total)));
}

}  // namespace

absl::Status CudaBackend::Open() {
  ASSIGN_OR_RETURN(stream_, MakeStream());
  ASSIGN_OR_RETURN(clock_, StepClock::Make());
  ASSIGN_OR_RETURN(uploader_, Uploader::Make());
  ASSIGN_OR_RETURN(workspace_, memory_.Allocate(CudaGemm::kWorkspaceBytes, MemoryUse::kScratch));
  ASSIGN_OR_RETURN(gemm_, CudaGemm::Make(workspace_->data(), workspace_->bytes()));
  // Pieces are rounded up, of which nobody who reserves bytes knows.
  const size_t pool_bytes = options_.adapter_bytes + options_.adapter_bytes / 64;
  ASSIGN_OR_RETURN(adapter_memory_, memory_.Allocate(pool_bytes, MemoryUse::kAdapters));
  pool_ =
      std::make_unique<AdapterPool>(static_cast<std::byte*>(adapter_memory_->data()), pool_bytes, *clock_);
  return absl::OkStatus();
}

absl::Status CudaBackend::Noted(absl::Status status) {
  if (IsDeviceLost(status)) {
    MutexLock lock(&mu_);
    lost_.Update(status);
  }
  return status;
}

absl::Status CudaBackend::device_status() const {
  MutexLock lock(&mu_);
  return lost_;
}

// Once the model's weights are there, vectors are those of adapters and come from their pool.
absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::LoadVector(std::span<const float> values) {
  if (!model_loaded_) return LoadModelVector(values, memory_, *uploader_);
  RETURN_IF_ERROR(Noted(CudaStatus(cudaSetDevice(options_.device), "choosing the device")));
  auto vector = LoadAdapterVector(values, *pool_, *uploader_);
  Noted(vector.status()).IgnoreError();
  return vector;
}

absl::StatusOr<std::unique_ptr<DeviceAdapter>> CudaBackend::LoadAdapter(const AdapterWeights& weights,
                                                                        const AdapterShape& shape) {
  RETURN_IF_ERROR(Noted(CudaStatus(cudaSetDevice(options_.device), "choosing the device")));
  auto adapter = CudaAdapter::Load(weights, shape, *pool_, *uploader_);
  RETURN_IF_ERROR(Noted(adapter.status()));
  RETURN_IF_ERROR(Noted(lora_space_->WidenFor((*adapter)->extents())));
  device_adapters_.Add(**adapter);
  return *std::move(adapter);
}

absl::Status CudaBackend::Reserve(const StepLimits& limits) {
  graphs_.Forget();
  limits_ = limits;
  const int partials = kPartialsPerRow * limits.max_logit_rows;
  prepared_ = nullptr;
  place_ = {};
  for (std::unique_ptr<StepTables>& tables : steps_) {
    ASSIGN_OR_RETURN(tables, StepTables::Make(memory_, place_, device_adapters_, limits, partials,
                                              options_.regroup_products));
  }
  tables_ = steps_[0].get();
  ASSIGN_OR_RETURN(sampler_, CudaSampler::Make(memory_, limits.max_logit_rows));
  lora_space_ = std::make_unique<LoraScratchSpace>(memory_, *uploader_, limits.max_rows, LoraBlocks());
  RETURN_IF_ERROR(ReserveRegrouping(limits.max_rows));
  const size_t angles = static_cast<size_t>(limits.max_context) * limits.head_dim;
  ASSIGN_OR_RETURN(angles_, memory_.Allocate(sizeof(float) * angles, MemoryUse::kScratch));
  angles_filled_ = 0;
  const size_t heads = static_cast<size_t>(partials) * limits.kv_heads;
  ASSIGN_OR_RETURN(attention_out_,
                   memory_.Allocate(sizeof(float) * heads * limits.head_dim, MemoryUse::kScratch));
  ASSIGN_OR_RETURN(attention_sum_, memory_.Allocate(sizeof(float2) * heads, MemoryUse::kScratch));
  memory_.KeepForScratch(ScratchGrowth(limits));
  attention_ = {static_cast<float*>(attention_out_->data()), static_cast<float2*>(attention_sum_->data()),
                partials, cuda::AttentionBlocks(limits.head_dim) * properties_.multiProcessorCount};
  return absl::OkStatus();
}

absl::Status CudaBackend::ReserveRegrouping(int rows) {
  const size_t places = static_cast<size_t>(cuda::kLoraRegroupMembers) * rows;
  ASSIGN_OR_RETURN(regroup_memory_,
                   memory_.Allocate(places * (sizeof(uint64_t) + 2 * sizeof(int32_t)), MemoryUse::kScratch));
  auto* picked = static_cast<uint64_t*>(regroup_memory_->data());
  auto* order = reinterpret_cast<int32_t*>(picked + places);
  regrouped_ = {picked, order, order + places, rows};
  return CudaStatus(cudaMemsetAsync(regrouped_.arrivals, 0, places * sizeof(int32_t), stream_.get()),
                    "zeroing counters");
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options) {
  int devices = 0;
  RETURN_IF_ERROR(CudaStatus(cudaGetDeviceCount(&devices), "looking for CUDA devices"));
  if (options.device >= devices)
    return Unavailable("there is no CUDA device {}: {} are there", options.device, devices);
  RETURN_IF_ERROR(CudaStatus(cudaSetDevice(options.device), "choosing the device"));
  cudaDeviceProp properties;
  RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, options.device), "describing the device"));
  if (properties.major < 8) {
    return Unavailable("{} is of compute capability {}.{}, and 8.0 is the least", properties.name,
                       properties.major, properties.minor);
  }
  ASSIGN_OR_RETURN(const size_t budget, Budget(options.memory_fraction));
  auto backend = std::make_unique<CudaBackend>(options, properties, budget);
  RETURN_IF_ERROR(backend->Open());
  return backend;
}

}  // namespace hydrad
