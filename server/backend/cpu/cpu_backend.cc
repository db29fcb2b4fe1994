#include "server/backend/cpu/cpu_backend.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/lora.h"
#include "kernels/router.h"
#include "kernels/simd/isa.h"
#include "kernels/simd/pool.h"
#include "server/backend/cpu/aligned_buffer.h"
#include "server/backend/cpu/cpu_step.h"
#include "server/backend/cpu/pack_vocabulary.h"
#include "server/backend/cpu/packed_adapter.h"
#include "server/backend/cpu/packed_weight.h"
#include "server/backend/cpu/scratch.h"
#include "server/backend/cpu/vocabulary.h"
#include "server/backend/device_errors.h"
#include "server/base/check.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// More than fine-tuners add to a tokenizer; the room for their logits is touched only where there are some.
constexpr int kMoreTokens = 8192;

// Activations of this device are f32.
Mat<float> Floats(const Tensor& t) {
  HYDRAD_CHECK(t.dtype == DType::kF32);
  return {static_cast<float*>(t.data), t.rows, t.cols, t.stride};
}

const float* Values(const Buffer& vector) { return static_cast<const float*>(vector.data()); }

template <class T>
KvLayer<T> Layer(const KvCacheView& kv) {
  return {static_cast<T*>(kv.k.data), static_cast<T*>(kv.v.data), kv.block_size, kv.kv_heads, kv.head_dim};
}

template <class T>  // weights, adapters and KV cache
class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int threads) : pool_(threads) {}

  std::string description() const override {
    return fmt::format("cpu {}, {} threads, {} weights", simd::Name(simd::ActiveIsa()), pool_.threads(),
                       weight_format().name);
  }
  DType activation_type() const override { return DType::kF32; }
  WeightFormat weight_format() const override { return kIsBf16 ? kBf16Weights : kF32Weights; }
  DType adapter_type() const override { return kIsBf16 ? DType::kBf16 : DType::kF32; }
  DType kv_type() const override { return kIsBf16 ? DType::kBf16 : DType::kF32; }

  int more_tokens() const override { return kMoreTokens; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return AlignedBuffer::Allocate(bytes);
  }

  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const HostMatrix> parts,
                                                     std::span<const float> bias) override {
    return PackedWeight::Pack(pool_, kIsBf16 ? WeightType::kBf16 : WeightType::kF32, parts, bias);
  }

  absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(std::span<const float> values) override {
    ASSIGN_OR_RETURN(auto buffer, AlignedBuffer::Allocate(values.size_bytes()));
    std::copy(values.begin(), values.end(), static_cast<float*>(buffer->data()));
    return buffer;
  }

  size_t AdapterBytes(const AdapterWeights& weights, const AdapterShape& shape) const override {
    return PackedAdapter<T>::Bytes(weights, shape, PackVocabulary<T>);
  }
  absl::StatusOr<std::unique_ptr<DeviceAdapter>> LoadAdapter(const AdapterWeights& weights,
                                                             const AdapterShape& shape) override {
    ASSIGN_OR_RETURN(auto adapter, PackedAdapter<T>::Pack(weights, shape, PackVocabulary<T>));
    device_adapters_.Add(*adapter);
    return adapter;
  }
  DeviceAdapters& device_adapters() override { return device_adapters_; }

  // Scratch grows by itself.
  absl::Status Reserve(const StepLimits&) override { return absl::OkStatus(); }

  void BeginStep(const Batch& batch, std::span<const double> inv_freq) override {
    failure_ = absl::OkStatus();
    step_.Begin(batch, inv_freq);
  }
  absl::Status FinishStep() override { return failure_; }

  void Embed(Tensor out, const Weight& embedding) override {
    const PackedWeights& packed = static_cast<const PackedWeight&>(embedding).packed();
    const std::span<const int32_t> tokens = step_.batch().tokens;
    const Mat<float> rows = Floats(out);
    pool_.Run(out.rows, [&](int r) {
      if (tokens[r] < packed.n) simd::UnpackRow(packed, tokens[r], rows.row(r));
    });
  }

  void RmsNorm(Tensor y, Tensor x, const Buffer& weight, float eps) override {
    simd::RmsNorm(pool_, Floats(y), Floats(x), Values(weight), x.cols, eps);
  }
  void AddRmsNorm(Tensor y, Tensor x, Tensor delta, const Buffer& weight, float eps) override {
    simd::Add(pool_, Floats(x), Floats(delta));
    RmsNorm(y, x, weight, eps);
  }
  void RmsNormRows(Tensor y, Tensor x, std::span<const int32_t> rows, const Buffer& weight,
                   float eps) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(Floats(y).row(static_cast<int>(i)), Floats(x).row(rows[i]), sizeof(float) * x.cols);
    }
    RmsNorm(y, y, weight, eps);
  }

  void Gemm(Tensor y, Tensor x, const Weight& weight) override {
    const PackedWeight& w = static_cast<const PackedWeight&>(weight);
    const size_t scratch = simd::GemmScratchBytes(w.packed().type, x.rows, x.cols);
    Try([&] { simd::Gemm(pool_, Floats(y), Floats(x), w.packed(), w.bias(), scratch_.AtLeast(scratch)); });
  }

  void AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) override {
    for (size_t term = 0; term < step_.terms(); ++term) {
      const std::span<const LoraRun<T>> runs = step_.runs(term, layer, group);
      if (runs.empty()) continue;
      Try([&] {
        simd::AddLora(pool_, Floats(y), Floats(x), runs, scratch_.AtLeast(LoraScratchBytes(runs)));
      });
    }
  }

  void Route(Tensor x, int layer) override {
    for (size_t i = 0; i < step_.batch().probes.size(); ++i) {
      const Batch::Probe& probe = step_.batch().probes[i];
      const Router& router = step_.router(i);
      router_rows_.clear();
      for (const Buffer* rows : router.rows) {
        router_rows_.push_back(Values(*rows) + static_cast<size_t>(layer) * x.cols);
      }
      const std::span<double> sums = step_.sums(i, layer);
      const Mat<float> rows = Floats(x).Rows(probe.row_begin, probe.row_end - probe.row_begin);
      simd::AddRouterSums(pool_, sums, rows, router_rows_);
      if (probe.decides) step_.Pick(i, layer, router.Pick(layer, sums.data(), probe.pooled));
    }
  }
  Routed Routes(int probe) override { return step_.routed(static_cast<size_t>(probe)); }

  void AdaptEmbedding(Tensor out) override {
    Try([&] { hydrad::AdaptEmbedding<T>(pool_, step_.batch(), step_.ends(), Floats(out), scratch_); });
  }

  void AdaptHead(Tensor logits, Tensor x) override {
    Try([&] {
      hydrad::AdaptHead<T>(pool_, step_.batch(), step_.ends(), Floats(logits), Floats(x), scratch_);
    });
  }

  std::span<const float> Gates(int record) override { return step_.gates(record); }

  void RopeAndWriteKv(Tensor qkv, const HeadNorms& norms, const KvCacheView& kv) override {
    const int kv_out = kv.kv_heads * kv.head_dim, q_out = qkv.cols - 2 * kv_out;
    const Mat<float> q = Floats(qkv.Cols(0, q_out)), k = Floats(qkv.Cols(q_out, kv_out));
    if (norms.q != nullptr) simd::RmsNorm(pool_, q, q, Values(*norms.q), kv.head_dim, norms.eps);
    if (norms.k != nullptr) simd::RmsNorm(pool_, k, k, Values(*norms.k), kv.head_dim, norms.eps);
    simd::Rope(pool_, Floats(qkv), (q_out + kv_out) / kv.head_dim, kv.head_dim, step_.cos_sin());
    PoisonFreshBlocks(kv);
    simd::WriteKv(pool_, Layer<T>(kv), k, Floats(qkv.Cols(q_out + kv_out, kv_out)), step_.batch().slots);
  }

  void Attend(Tensor out, Tensor q, const KvCacheView& kv, float scale) override {
    simd::Attend(pool_, Floats(out), Floats(q), Layer<T>(kv), step_.segments(), scale);
  }

  void SiluMul(Tensor y, Tensor gate_up) override { simd::SiluMul(pool_, Floats(y), Floats(gate_up)); }
  void Add(Tensor y, Tensor x) override { simd::Add(pool_, Floats(y), Floats(x)); }

  void Sample(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
              std::span<Sampled> sampled, std::span<Sampled> scored) override {
    const Mat<float> values = Floats(logits);
    const auto row = [&](int32_t index) {
      return std::span(values.row(index), static_cast<size_t>(step_.vocab(index, values.cols)));
    };
    for (size_t i = 0; i < scores.size(); ++i) {
      scored[i] = hydrad::Score(row(scores[i].index), scores[i].token, scores[i].top);
    }
    if (draws.empty()) return;
    pool_.Run(static_cast<int>(draws.size()), [&](int i) {
      std::span<float> logits = row(draws[i].index);
      const bool masked = !draws[i].row.allowed.empty();
      if (masked) logits = logits.first(std::min(logits.size(), static_cast<size_t>(values.cols)));
      sampled[i] = hydrad::Sample(logits, draws[i].row);
    });
  }

  void ReadBack(Tensor x, std::span<float> out) override {
    for (int r = 0; r < x.rows; ++r) {
      std::memcpy(out.data() + static_cast<size_t>(r) * x.cols, Floats(x).row(r), sizeof(float) * x.cols);
    }
  }

 private:
  // Runs an op that may ask for more scratch than there is memory. Then it does nothing and the step fails;
  // the ops after it compute what nobody looks at.
  template <class Op>
  void Try(Op op) {
    try {
      op();
    } catch (const std::bad_alloc&) {
      failure_ = Because(Internal("the step found no memory for its scratch"), kDeviceError);
    }
  }

  static constexpr bool kIsBf16 = std::is_same_v<T, bf16>;

  // A sequence that writes the first slot of a block has just been given it: in builds with asserts, what the
  // last holder left there turns to NaN.
  void PoisonFreshBlocks(const KvCacheView& kv) {
    const size_t bytes = sizeof(T) * kv.kv_heads * kv.block_size * kv.head_dim;
    for (const int32_t slot : step_.batch().slots) {
      if (slot % kv.block_size != 0) continue;
      Poison(static_cast<std::byte*>(kv.k.data) + bytes * (slot / kv.block_size), bytes);
      Poison(static_cast<std::byte*>(kv.v.data) + bytes * (slot / kv.block_size), bytes);
    }
  }

  simd::Pool pool_;
  DeviceAdapters device_adapters_;
  CpuStep<T> step_{device_adapters_};
  std::vector<const float*> router_rows_;  // of one probe
  Scratch scratch_;
  absl::Status failure_;  // of the step
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const CpuBackendOptions& options) {
  HYDRAD_CHECK(options.weight_type != DType::kF16);
  if (options.weight_type == DType::kF32) return std::make_unique<CpuBackend<float>>(options.threads);
  return std::make_unique<CpuBackend<bf16>>(options.threads);
}

}  // namespace hydrad
