#include "server/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/cuda/kernels.h"
#include "kernels/elementwise.h"
#include "server/backend/cuda/adapter_pool.h"
#include "server/backend/cuda/cuda_weight.h"
#include "server/backend/cuda/dense_product.h"
#include "server/backend/cuda/device_adapter.h"
#include "server/backend/cuda/device_memory.h"
#include "server/backend/cuda/graphs.h"
#include "server/backend/cuda/lora_scratch.h"
#include "server/backend/cuda/sampler.h"
#include "server/backend/cuda/step_tables.h"
#include "server/backend/cuda/uploader.h"
#include "server/backend/device_errors.h"
#include "server/backend/host_rows.h"
#include "server/base/check.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

// Rows that recorded steps are padded to: few recordings, and little work for nothing.
constexpr std::array<int, 22> kRowBuckets = {1,  2,  4,  6,  8,  12,  16,  20,  24,  28,  32,
                                             40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512};
constexpr int kPartialsPerRow = 64;  // of attention: a row's heads of one group, times splits of its context
constexpr int kRopeChunk = 4096;     // positions whose angles are worked out at once

// Bytes that are kept from the KV cache for what steps and adapters may want once serving has begun:
// coefficients of adapters as wide as eight experts of rank 64 on q, k and v, the recorded gates of all rows,
// penalties of every token of the running contexts, and tables. What grows is taken twice as large as is
// needed.
size_t ScratchGrowth(const StepLimits& limits) {
  constexpr int kWidest = 8 * 64 * 3 + 3 * 8, kGatesOfLayer = 7 * 8;
  constexpr size_t kTables = size_t{16} << 20;
  const size_t rows = static_cast<size_t>(limits.max_rows),
               sequences = static_cast<size_t>(limits.max_logit_rows);
  return LoraScratchSpace::BytesAtMost(limits.max_rows, kWidest) +
         2 * sizeof(float) * rows * limits.layers * kGatesOfLayer +
         2 * sizeof(cuda::SampleEdit) * sequences * limits.max_context + kTables;
}

template <class T>
Mat<T> View(const Tensor& t) {
  HYDRAD_CHECK(t.dtype == (std::is_same_v<std::remove_const_t<T>, float> ? DType::kF32 : DType::kBf16));
  return {static_cast<T*>(t.data), t.rows, t.cols, t.stride};
}

const float* Values(const Buffer* vector) {
  return vector == nullptr ? nullptr : static_cast<const float*>(vector->data());
}

KvLayer<bf16> Layer(const KvCacheView& kv) {
  return {static_cast<bf16*>(kv.k.data), static_cast<bf16*>(kv.v.data), kv.block_size, kv.kv_heads,
          kv.head_dim};
}

const CudaWeight& OnCuda(const Weight& weight) { return static_cast<const CudaWeight&>(weight); }

class CudaBackend final : public Backend {
 public:
  CudaBackend(const CudaBackendOptions& options, const cudaDeviceProp& properties, size_t budget)
      : options_(options), properties_(properties), memory_(budget) {}
  ~CudaBackend() override {
    if (stream_ != nullptr) cudaStreamSynchronize(stream_.get());
  }

  // Takes what does not depend on the model.
  absl::Status Open();

  std::string description() const override {
    return fmt::format("cuda {}, sm_{}{}, bf16 weights", properties_.name, properties_.major,
                       properties_.minor);
  }
  std::string pci_address() const override {
    return fmt::format("{:08x}:{:02x}:{:02x}.0", properties_.pciDomainID, properties_.pciBusID,
                       properties_.pciDeviceID);
  }
  std::string memory_report() const override { return memory_.Report(); }
  std::optional<size_t> free_bytes() const override { return memory_.free(); }
  DType activation_type() const override { return DType::kBf16; }
  DType stream_type() const override { return DType::kF32; }
  DType logits_type() const override { return DType::kF32; }
  WeightFormat weight_format() const override { return kBf16Weights; }
  DType adapter_type() const override { return DType::kBf16; }
  DType kv_type() const override { return DType::kBf16; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return memory_.Allocate(bytes, MemoryUse::kModel);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateActivations(size_t bytes) override {
    model_loaded_ = true;
    ASSIGN_OR_RETURN(auto buffer, Allocate(bytes));
    RETURN_IF_ERROR(
        CudaStatus(cudaMemsetAsync(buffer->data(), 0, bytes, stream_.get()), "zeroing activations"));
    return buffer;
  }
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const HostMatrix> parts,
                                                     std::span<const float> bias) override {
    return CudaWeight::Load(parts, bias, memory_, *uploader_);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(std::span<const float> values) override;

  size_t AdapterBytes(const AdapterWeights& weights, const AdapterShape& shape) const override {
    return CudaAdapter::Bytes(weights, shape);
  }
  absl::StatusOr<std::unique_ptr<DeviceAdapter>> LoadAdapter(const AdapterWeights& weights,
                                                             const AdapterShape& shape) override;
  DeviceAdapters& device_adapters() override { return device_adapters_; }

  absl::Status Reserve(const StepLimits& limits) override;
  int PaddedRows(const Batch& batch) const override;
  bool asynchronous() const override { return true; }
  void PrepareStep(const Batch& batch) override;
  void BeginStep(const Batch& batch, std::span<const double> inv_freq) override;
  void RunStep(absl::FunctionRef<void()> ops) override;

  void Embed(Tensor out, const Weight& embedding) override {
    Op("Embed", [&] {
      return cuda::Embed(View<float>(out), OnCuda(embedding).values(), tables_->tokens(), stream_.get());
    });
  }
  void RmsNorm(Tensor y, Tensor x, const Buffer& weight, float eps) override {
    Op("RmsNorm", [&] {
      return cuda::RmsNorm(View<bf16>(y), View<const float>(x), nullptr, Values(&weight), eps, stream_.get());
    });
  }
  void AddRmsNorm(Tensor y, Tensor x, Tensor delta, const Buffer& weight, float eps) override {
    Op("AddRmsNorm", [&] {
      return cuda::AddRmsNorm(View<bf16>(y), View<float>(x), View<const bf16>(delta), Values(&weight), eps,
                              stream_.get());
    });
  }
  void RmsNormRows(Tensor y, Tensor x, std::span<const int32_t> rows, const Buffer& weight,
                   float eps) override {
    HYDRAD_CHECK(rows.data() == batch_->logit_rows.data());
    Op("RmsNormRows", [&] {
      return cuda::RmsNorm(View<bf16>(y), View<const float>(x), tables_->logit_rows(), Values(&weight), eps,
                           stream_.get());
    });
  }
  void Gemm(Tensor y, Tensor x, const Weight& weight) override {
    if (!step_.ok()) return;
    step_ = gemm_->Multiply(y, x, OnCuda(weight).values(), OnCuda(weight).bias(), stream_.get());
  }
  void AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) override;
  void AdaptEmbedding(Tensor out) override {
    Op("AdaptEmbedding", [&] {
      if (!tables_->ends().embedding) return cudaSuccess;
      return cuda::AdaptEmbedding(View<float>(out), tables_->tokens(), tables_->vocabulary(), stream_.get());
    });
  }
  void AdaptHead(Tensor logits, Tensor x) override;
  void RopeAndWriteKv(Tensor qkv, const HeadNorms& norms, const KvCacheView& kv) override {
    Op("RopeAndWriteKv", [&] {
      const int q_heads = qkv.cols / kv.head_dim - 2 * kv.kv_heads;
      const cuda::RopeArgs args = {q_heads,         Values(norms.q),       Values(norms.k),
                                   norms.eps,       Values(angles_.get()), tables_->positions(),
                                   tables_->slots()};
      return cuda::RopeWriteKv(View<bf16>(qkv), args, Layer(kv), stream_.get());
    });
  }
  void Attend(Tensor out, Tensor q, const KvCacheView& kv, float scale) override {
    Op("Attend", [&] {
      return cuda::Attend(View<bf16>(out), View<const bf16>(q), Layer(kv), tables_->attention(), scale,
                          attention_, stream_.get());
    });
  }
  void SiluMul(Tensor y, Tensor gate_up) override {
    Op("SiluMul", [&] { return cuda::SiluMul(View<bf16>(y), View<const bf16>(gate_up), stream_.get()); });
  }
  void Add(Tensor y, Tensor x) override {
    Op("Add", [&] { return cuda::Add(View<float>(y), View<const bf16>(x), stream_.get()); });
  }

  void Route(Tensor x, int layer) override {
    LayerOp("Route", layer, [&] {
      return cuda::ProbeRouters(tables_->probes(layer), tables_->probe_count(), tables_->probes(),
                                View<const float>(x), stream_.get());
    });
  }
  Routed Routes(int probe) override;
  std::span<const float> Gates(int record) override;
  void Sample(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
              std::span<Sampled> sampled, std::span<Sampled> scored) override {
    if (step_.ok()) step_ = sampler_->Begin(logits, draws, scores, stream_.get());
    sampled_ = sampled, scored_ = scored;
  }
  absl::Status FinishStep() override;
  absl::Status device_status() const override;
  void ReadBack(Tensor x, std::span<float> out) override;

 private:
  // Launches an op of the step, unless one before it has failed, and keeps the error if it does.
  template <class Launch>
  void Op(const char* what, Launch launch) {
    if (!step_.ok()) return;
    if (const cudaError_t error = launch(); error != cudaSuccess) step_ = CudaStatus(error, what);
  }
  template <class Launch>
  void LayerOp(const char* what, int layer, Launch launch) {
    if (!step_.ok()) return;
    if (const cudaError_t error = launch(); error != cudaSuccess)
      step_ = CudaStatus(error, fmt::format("{}, layer {}", what, layer));
  }
  cudaError_t LaunchLora(Tensor y, Tensor x, cuda::LoraSite site, size_t pass);
  // The status, having noted the loss of the device where it tells of one.
  absl::Status Noted(absl::Status status);
  absl::Status ReserveRegrouping(int rows);
  absl::Status TryBeginStep(bool prepared, std::span<const double> inv_freq);
  StepTables& OtherTables() const { return *steps_[tables_ == steps_[0].get() ? 1 : 0]; }
  absl::Status ExtendAngles(const Batch& batch, std::span<const double> inv_freq);
  // Whether a step may be recorded: one row of each sequence, its logits wanted, at most one adapter a row.
  bool MayRecord(const Batch& batch) const;
  int LoraBlocks() const { return cuda::kLoraBlocks * properties_.multiProcessorCount; }

  const CudaBackendOptions options_;
  const cudaDeviceProp properties_;
  DeviceMemory memory_;
  mutable Mutex mu_;
  absl::Status lost_ ABSL_GUARDED_BY(mu_);  // OK until the device is

  // From Open.
  CudaStream stream_;
  std::unique_ptr<StepClock> clock_;
  std::unique_ptr<Uploader> uploader_;
  std::unique_ptr<Buffer> workspace_, adapter_memory_;
  std::unique_ptr<CudaGemm> gemm_;
  std::unique_ptr<AdapterPool> pool_;
  std::atomic<bool> model_loaded_ = false;
  DeviceAdapters device_adapters_;

  // From Reserve.
  StepLimits limits_;
  StepPlace place_;
  std::array<std::unique_ptr<StepTables>, 2> steps_;  // in turn, each in that place
  std::unique_ptr<CudaSampler> sampler_;
  std::unique_ptr<LoraScratchSpace> lora_space_;
  std::unique_ptr<Buffer> regroup_memory_;
  cuda::LoraRegrouped regrouped_{};
  std::unique_ptr<Buffer> angles_;  // [max_context, head_dim]: cosines, sines
  int angles_filled_ = 0;           // positions
  std::unique_ptr<Buffer> attention_out_, attention_sum_;
  cuda::AttentionScratch attention_{};

  // Of the step.
  const Batch* batch_ = nullptr;
  StepTables* tables_ = nullptr;         // its, of steps_
  absl::Status step_;                    // the first error: the ops after it do nothing
  std::span<Sampled> sampled_, scored_;  // for FinishStep to fill in
  const Batch* prepared_ = nullptr;      // the next step's, if the other tables are planned for it
  cuda::LoraScratch lora_{};
  StepGraphs graphs_;
};

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

bool CudaBackend::MayRecord(const Batch& batch) const {
  const size_t rows = batch.tokens.size();
  return options_.graphs && batch.segments.size() == rows && batch.logit_rows.size() == rows &&
         batch.terms() <= 1 && batch.probes.empty();
}

int CudaBackend::PaddedRows(const Batch& batch) const {
  const int rows = batch.rows();
  if (!MayRecord(batch)) return rows;
  const int most = std::min(limits_.max_rows, limits_.max_logit_rows);
  const auto bucket = std::lower_bound(kRowBuckets.begin(), kRowBuckets.end(), rows);
  return bucket == kRowBuckets.end() ? most : std::min(most, *bucket);
}

void CudaBackend::PrepareStep(const Batch& batch) {
  const absl::StatusOr<bool> planned = OtherTables().PlanAhead(batch, PaddedRows(batch), MayRecord(batch));
  prepared_ = planned.ok() && *planned ? &batch : nullptr;
}

void CudaBackend::BeginStep(const Batch& batch, std::span<const double> inv_freq) {
  clock_->Begin();
  batch_ = &batch;
  sampled_ = scored_ = {};
  step_ = TryBeginStep(std::exchange(prepared_, nullptr) == &batch, inv_freq);
}

absl::Status CudaBackend::TryBeginStep(bool prepared, std::span<const double> inv_freq) {
  tables_ = &OtherTables();
  RETURN_IF_ERROR(CudaStatus(cudaSetDevice(options_.device), "choosing the device"));
  RETURN_IF_ERROR(ExtendAngles(*batch_, inv_freq));
  bool moved = false;
  if (!prepared) {
    ASSIGN_OR_RETURN(moved, tables_->Plan(*batch_, PaddedRows(*batch_), MayRecord(*batch_)));
  }
  RETURN_IF_ERROR(tables_->Send(stream_.get()));
  if (!batch_->runs.empty()) {
    ASSIGN_OR_RETURN(const cuda::LoraScratch scratch, lora_space_->Use(stream_.get()));
    moved = moved || scratch.u != lora_.u;
    lora_ = scratch;
  }
  if (moved) graphs_.Forget();
  return absl::OkStatus();
}

void CudaBackend::RunStep(absl::FunctionRef<void()> ops) {
  if (step_.ok() && MayRecord(*batch_)) {
    const StepForm form = {PaddedRows(*batch_), !batch_->runs.empty(), tables_->ends()};
    step_ = graphs_.Run(form, stream_.get(), [&] {
      step_ = absl::OkStatus();  // also when what they did was recorded in vain
      ops();
      return step_;
    });
  } else {
    ops();
  }
  step_.Update(clock_->End(stream_.get()));
}

// A failed step leaves nothing under way, and the next begins as if none had been recorded: what moved before
// it failed is not known.
absl::Status CudaBackend::FinishStep() {
  if (step_.ok()) step_ = tables_->FetchResults(stream_.get());
  if (step_.ok()) step_ = CudaStatus(cudaStreamSynchronize(stream_.get()), "waiting for the step");
  if (step_.ok()) {
    sampler_->End(sampled_, scored_);
    return absl::OkStatus();
  }
  graphs_.Forget();
  step_ = Noted(Settle(stream_.get(), std::move(step_)));
  if (IsDeviceLost(step_)) return step_;
  return Because(Internal("{}", std::string(step_.message())), kDeviceError);
}

absl::Status CudaBackend::ExtendAngles(const Batch& batch, std::span<const double> inv_freq) {
  const int width = static_cast<int>(2 * inv_freq.size());
  const int last = *std::max_element(batch.positions.begin(), batch.positions.end());
  if (last < angles_filled_) return absl::OkStatus();
  const int end = std::min(limits_.max_context, (last / kRopeChunk + 1) * kRopeChunk);
  std::vector<int32_t> positions(end - angles_filled_);
  std::iota(positions.begin(), positions.end(), angles_filled_);
  std::vector<float> angles(positions.size() * width);
  RopeTable({angles.data(), static_cast<int>(positions.size()), width, width}, positions, inv_freq);
  RETURN_IF_ERROR(
      uploader_->Copy(static_cast<std::byte*>(angles_->data()) + sizeof(float) * width * angles_filled_,
                      reinterpret_cast<const std::byte*>(angles.data()), sizeof(float) * angles.size()));
  RETURN_IF_ERROR(uploader_->Await());
  angles_filled_ = end;
  return absl::OkStatus();
}

void CudaBackend::AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) {
  for (size_t pass = 0; step_.ok() && pass < tables_->passes(); ++pass) {
    LayerOp("AddLora", layer, [&] {
      return LaunchLora(y, x, {layer, static_cast<int>(group), kProjectionGroups}, pass);
    });
  }
}

cudaError_t CudaBackend::LaunchLora(Tensor y, Tensor x, cuda::LoraSite site, size_t pass) {
  const cuda::LoraPlan* plan = tables_->lora(pass);
  cudaError_t error = cuda::LoraShrink(plan, site, View<const bf16>(x), lora_, stream_.get());
  if (tables_->regroups(pass, static_cast<ProjectionGroup>(site.kind))) {
    const cuda::LoraPlan* some = tables_->regrouped(pass);
    if (error == cudaSuccess) error = cuda::LoraRegroup(some, site, lora_, regrouped_, stream_.get());
    if (error == cudaSuccess)
      error = cuda::LoraExpandRegrouped(View<bf16>(y), some, site, lora_, regrouped_, stream_.get());
    plan = tables_->rest(pass);
  }
  if (error != cudaSuccess || plan == nullptr) return error;
  return cuda::LoraExpand(View<bf16>(y), plan, site, lora_, stream_.get());
}

void CudaBackend::AdaptHead(Tensor logits, Tensor x) {
  Op("AdaptHead", [&] {
    if (!tables_->ends().own_logits) return cudaSuccess;
    return cuda::OwnLogits(View<float>(logits), View<const bf16>(x), tables_->vocabulary(), LoraBlocks(),
                           stream_.get());
  });
  const cuda::LoraSite site = {.layer = 0, .kind = 0, .kinds = 1};
  for (size_t i = 0; step_.ok() && i < tables_->head_passes(); ++i) {
    const cuda::LoraPlan* plan = tables_->head_lora(i);
    Op("AdaptHead", [&] { return cuda::LoraShrink(plan, site, View<const bf16>(x), lora_, stream_.get()); });
    Op("AdaptHead", [&] { return cuda::LoraExpand(View<float>(logits), plan, site, lora_, stream_.get()); });
  }
}

std::span<const float> CudaBackend::Gates(int record) {
  return step_.ok() ? tables_->Gates(record) : std::span<const float>();
}

Routed CudaBackend::Routes(int probe) {
  return step_.ok() ? tables_->Routes(static_cast<size_t>(probe)) : Routed{};
}

void CudaBackend::ReadBack(Tensor x, std::span<float> out) {
  const size_t row_bytes = BytesOf(x.cols, x.dtype);
  std::vector<std::byte> row(row_bytes);
  for (int r = 0; r < x.rows; ++r) {
    Op("ReadBack", [&] {
      const cudaError_t error =
          cudaMemcpyAsync(row.data(), x.Rows(r, 1).data, row_bytes, cudaMemcpyDeviceToHost, stream_.get());
      return error != cudaSuccess ? error : cudaStreamSynchronize(stream_.get());
    });
    CopyRows(HostMatrix{row.data(), x.dtype, 1, x.cols}, 0, 1, out.data() + static_cast<size_t>(r) * x.cols);
  }
}

absl::StatusOr<size_t> Budget(double fraction) {
  size_t free = 0, total = 0;
  RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&free, &total), "asking for the device's memory"));
  return std::min(free, static_cast<size_t>(fraction * static_cast<double>(total)));
}

}  // namespace

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
