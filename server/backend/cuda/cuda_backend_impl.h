// The class behind MakeCudaBackend, in three files: cuda_backend.cc opens it and takes and fills memory,
// cuda_steps.cc begins and ends steps, cuda_ops.cc launches their ops.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_CUDA_BACKEND_IMPL_H_
#define HYDRAD_SERVER_BACKEND_CUDA_CUDA_BACKEND_IMPL_H_

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "kernels/cuda/kernels.h"
#include "server/backend/cuda/adapter_pool.h"
#include "server/backend/cuda/cuda_backend.h"
#include "server/backend/cuda/cuda_weight.h"
#include "server/backend/cuda/dense_product.h"
#include "server/backend/cuda/device_adapter.h"
#include "server/backend/cuda/device_memory.h"
#include "server/backend/cuda/graphs.h"
#include "server/backend/cuda/lora_scratch.h"
#include "server/backend/cuda/sampler.h"
#include "server/backend/cuda/step_tables.h"
#include "server/backend/cuda/uploader.h"
#include "server/base/mutex.h"
#include "server/base/status_macros.h"

namespace hydrad {

// The backend of one GPU. Backend says which threads may call what.
//
// A step: BeginStep plans its tables, unless PrepareStep has, and sends them; RunStep calls the ops, which
// only enqueue launches on the stream, or runs what it has recorded of a step of the same form; FinishStep
// waits for the stream and has the results. The first error of a step is kept, the ops after it do nothing,
// and FinishStep returns it.
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

  void Embed(Tensor out, const Weight& embedding) override;
  void RmsNorm(Tensor y, Tensor x, const Buffer& weight, float eps) override;
  void AddRmsNorm(Tensor y, Tensor x, Tensor delta, const Buffer& weight, float eps) override;
  void RmsNormRows(Tensor y, Tensor x, std::span<const int32_t> rows, const Buffer& weight,
                   float eps) override;
  void Route(Tensor x, int layer) override;
  void Gemm(Tensor y, Tensor x, const Weight& weight) override;
  void AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) override;
  void AdaptEmbedding(Tensor out) override;
  void AdaptHead(Tensor logits, Tensor x) override;
  void RopeAndWriteKv(Tensor qkv, const HeadNorms& norms, const KvCacheView& kv) override;
  void Attend(Tensor out, Tensor q, const KvCacheView& kv, float scale) override;
  void SiluMul(Tensor y, Tensor gate_up) override;
  void Add(Tensor y, Tensor x) override;
  void Sample(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
              std::span<Sampled> sampled, std::span<Sampled> scored) override;
  void ReadBack(Tensor x, std::span<float> out) override;

  absl::Status FinishStep() override;
  Routed Routes(int probe) override;
  std::span<const float> Gates(int record) override;
  absl::Status device_status() const override;

 private:
  // Launches an op of the step, unless one before it has failed, and keeps the error if it does. The error
  // names `what`, and the layer.
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
  // Launches the change that the runs of a term of the batch make at a site.
  cudaError_t LaunchLora(Tensor y, Tensor x, cuda::LoraSite site, size_t term);
  // Returns the status, having noted the loss of the device where it tells of one.
  absl::Status Noted(absl::Status status);
  absl::Status ReserveRegrouping(int rows);
  absl::Status TryBeginStep(bool prepared, std::span<const double> inv_freq);
  // Returns the tables that the step at hand does not use: the next step's.
  StepTables& OtherTables() const;
  // Fills angles_ up to the last position of the batch, and some further.
  absl::Status ExtendAngles(const Batch& batch, std::span<const double> inv_freq);
  // Returns whether a step may be recorded: one row of each sequence, its logits wanted, at most one adapter
  // a row.
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

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_CUDA_BACKEND_IMPL_H_
