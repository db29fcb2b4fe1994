// The ops of CudaBackend: each launches its kernels on the step's stream.
#include <type_traits>
#include <vector>

#include "server/backend/cuda/cuda_backend_impl.h"
#include "server/backend/host_rows.h"
#include "server/base/check.h"

namespace hydrad {
namespace {

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

}  // namespace

void CudaBackend::Embed(Tensor out, const Weight& embedding) {
  Op("Embed", [&] {
    return cuda::Embed(View<float>(out), OnCuda(embedding).values(), tables_->tokens(), stream_.get());
  });
}

void CudaBackend::RmsNorm(Tensor y, Tensor x, const Buffer& weight, float eps) {
  Op("RmsNorm", [&] {
    return cuda::RmsNorm(View<bf16>(y), View<const float>(x), nullptr, Values(&weight), eps, stream_.get());
  });
}

void CudaBackend::AddRmsNorm(Tensor y, Tensor x, Tensor delta, const Buffer& weight, float eps) {
  Op("AddRmsNorm", [&] {
    return cuda::AddRmsNorm(View<bf16>(y), View<float>(x), View<const bf16>(delta), Values(&weight), eps,
                            stream_.get());
  });
}

void CudaBackend::RmsNormRows(Tensor y, Tensor x, std::span<const int32_t> rows, const Buffer& weight,
                              float eps) {
  HYDRAD_CHECK(rows.data() == batch_->logit_rows.data());
  Op("RmsNormRows", [&] {
    return cuda::RmsNorm(View<bf16>(y), View<const float>(x), tables_->logit_rows(), Values(&weight), eps,
                         stream_.get());
  });
}

void CudaBackend::Gemm(Tensor y, Tensor x, const Weight& weight) {
  if (!step_.ok()) return;
  step_ = gemm_->Multiply(y, x, OnCuda(weight).values(), OnCuda(weight).bias(), stream_.get());
}

void CudaBackend::AdaptEmbedding(Tensor out) {
  Op("AdaptEmbedding", [&] {
    if (!tables_->ends().embedding) return cudaSuccess;
    return cuda::AdaptEmbedding(View<float>(out), tables_->tokens(), tables_->vocabulary(), stream_.get());
  });
}

void CudaBackend::RopeAndWriteKv(Tensor qkv, const HeadNorms& norms, const KvCacheView& kv) {
  Op("RopeAndWriteKv", [&] {
    const int q_heads = qkv.cols / kv.head_dim - 2 * kv.kv_heads;
    const cuda::RopeArgs args = {q_heads,         Values(norms.q),       Values(norms.k),
                                 norms.eps,       Values(angles_.get()), tables_->positions(),
                                 tables_->slots()};
    return cuda::RopeWriteKv(View<bf16>(qkv), args, Layer(kv), stream_.get());
  });
}

void CudaBackend::Attend(Tensor out, Tensor q, const KvCacheView& kv, float scale) {
  Op("Attend", [&] {
    return cuda::Attend(View<bf16>(out), View<const bf16>(q), Layer(kv), tables_->attention(), scale,
                        attention_, stream_.get());
  });
}

void CudaBackend::SiluMul(Tensor y, Tensor gate_up) {
  Op("SiluMul", [&] { return cuda::SiluMul(View<bf16>(y), View<const bf16>(gate_up), stream_.get()); });
}

void CudaBackend::Add(Tensor y, Tensor x) {
  Op("Add", [&] { return cuda::Add(View<float>(y), View<const bf16>(x), stream_.get()); });
}

void CudaBackend::Route(Tensor x, int layer) {
  LayerOp("Route", layer, [&] {
    return cuda::ProbeRouters(tables_->probes(layer), tables_->probe_count(), tables_->probes(),
                              View<const float>(x), stream_.get());
  });
}

void CudaBackend::AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) {
  for (size_t term = 0; step_.ok() && term < tables_->terms(); ++term) {
    LayerOp("AddLora", layer, [&] {
      return LaunchLora(y, x, {layer, static_cast<int>(group), kProjectionGroups}, term);
    });
  }
}

cudaError_t CudaBackend::LaunchLora(Tensor y, Tensor x, cuda::LoraSite site, size_t term) {
  const cuda::LoraPlan* plan = tables_->lora(term);
  cudaError_t error = cuda::LoraShrink(plan, site, View<const bf16>(x), lora_, stream_.get());
  if (tables_->regroups(term, static_cast<ProjectionGroup>(site.kind))) {
    const cuda::LoraPlan* some = tables_->regrouped(term);
    if (error == cudaSuccess) error = cuda::LoraRegroup(some, site, lora_, regrouped_, stream_.get());
    if (error == cudaSuccess)
      error = cuda::LoraExpandRegrouped(View<bf16>(y), some, site, lora_, regrouped_, stream_.get());
    plan = tables_->rest(term);
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
  for (size_t i = 0; step_.ok() && i < tables_->head_terms(); ++i) {
    const cuda::LoraPlan* plan = tables_->head_lora(i);
    Op("AdaptHead", [&] { return cuda::LoraShrink(plan, site, View<const bf16>(x), lora_, stream_.get()); });
    Op("AdaptHead", [&] { return cuda::LoraExpand(View<float>(logits), plan, site, lora_, stream_.get()); });
  }
}

void CudaBackend::Sample(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
                         std::span<Sampled> sampled, std::span<Sampled> scored) {
  if (step_.ok()) step_ = sampler_->Begin(logits, draws, scores, stream_.get());
  sampled_ = sampled, scored_ = scored;
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

}  // namespace hydrad
