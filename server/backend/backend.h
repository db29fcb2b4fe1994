// The one device seam. The network (server/model) is written once against this; cpu/ and cuda/ implement it.
#ifndef HYDRAD_SERVER_BACKEND_BACKEND_H_
#define HYDRAD_SERVER_BACKEND_BACKEND_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/sampling.h"
#include "server/backend/adapter_weights.h"
#include "server/backend/buffer.h"
#include "server/backend/device_adapters.h"
#include "server/backend/step.h"
#include "server/backend/tensor.h"
#include "server/backend/weight_format.h"

namespace hydrad {

// What each head of q and k is normed with before it turns: [head_dim] each, null without qk-norm.
struct HeadNorms {
  const Buffer *q = nullptr, *k = nullptr;
  float eps = 0;
};

// Ops are called by the scheduler thread alone, and run in order. LoadAdapter and LoadVector may be called by
// loader threads at the same time. Allocate and LoadWeight are for start-up.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string description() const = 0;                     // "cpu avx512bf16, 2 threads"
  virtual DType activation_type() const = 0;                       // of every activation but these two:
  virtual DType stream_type() const { return activation_type(); }  // the residual stream
  virtual DType logits_type() const { return activation_type(); }
  // How what stays on the device lies there, whatever the files hold: base weights, adapters' factors, and
  // the keys and values of the cache.
  virtual WeightFormat weight_format() const = 0;
  virtual DType adapter_type() const = 0;
  virtual DType kv_type() const = 0;

  // Tokens that an adapter may have beyond those of the base. There is room for their logits behind each row
  // of those of the base, so that the tensor that AdaptHead and Sample get has a stride of at least the
  // base's vocabulary and these.
  virtual int more_tokens() const { return 0; }

  // Of the GPU that it runs on, "00000000:65:00.0"; empty without one.
  virtual std::string pci_address() const { return ""; }

  // OK until the device is lost, then why (device_errors.h): some step or load has met it. Thread-safe.
  virtual absl::Status device_status() const { return absl::OkStatus(); }

  // Bytes that Allocate and the loads below may still take together; nullopt where nobody has set a limit.
  virtual std::optional<size_t> free_bytes() const { return std::nullopt; }
  // What the memory has gone to, for the log; empty without a limit.
  virtual std::string memory_report() const { return ""; }

  // RESOURCE_EXHAUSTED when the device has no room. Contents unspecified.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  // The same for what a step computes. A device that pads steps reads rows there that no op has written, and
  // gives them a value first.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> AllocateActivations(size_t bytes) {
    return Allocate(bytes);
  }
  // The parts (equal cols) stacked row-wise into one matrix; `bias` is empty or has one value per row.
  virtual absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const HostMatrix> parts,
                                                             std::span<const float> bias) = 0;
  // A norm's weights, an expert's rows of the routers and other f32 vectors; takes values.size_bytes().
  virtual absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(std::span<const float> values) = 0;

  // Bytes that LoadAdapter will take, so that they can be reserved first.
  virtual size_t AdapterBytes(const AdapterWeights& weights, const AdapterShape& shape) const = 0;
  virtual absl::StatusOr<std::unique_ptr<DeviceAdapter>> LoadAdapter(const AdapterWeights& weights,
                                                                     const AdapterShape& shape) = 0;
  // Where the adapters of LoadAdapter have their slots, and routers over them get theirs. Thread-safe.
  virtual DeviceAdapters& device_adapters() = 0;

  // Takes what steps within `limits` need beside the model's own buffers, so that they allocate nothing.
  // RESOURCE_EXHAUSTED when the device has no room.
  virtual absl::Status Reserve(const StepLimits& limits) = 0;

  // The rows (and logit rows, where the step wants those of every row) that the ops of `batch` are to be
  // called with: at least batch.rows() and within the limits of Reserve. What the ops leave in the rows
  // beyond is unspecified.
  virtual int PaddedRows(const Batch& batch) const { return batch.rows(); }

  // Whether ops return before the device has run them.
  virtual bool asynchronous() const { return false; }
  // While a step runs, after its last op: does ahead what BeginStep of `batch` needs besides its tokens.
  // BeginStep of the same batch takes that, with the tokens that are in it by then; of another one, drops it.
  // An error leaves nothing prepared and is not told: BeginStep meets it.
  virtual void PrepareStep(const Batch&) {}

  // Makes `batch` the one that the ops below work on, until the next call. `inv_freq` [head_dim / 2] gives
  // the rotary table of its positions. The batch must outlive the step. REQUIRES: the device has run the ops
  // of the step before (FinishStep).
  virtual void BeginStep(const Batch& batch, std::span<const double> inv_freq) = 0;

  // Calls `ops`, which calls the ops below down to Add and no other function of this class; or, where
  // an earlier batch had the same form, repeats what its ops launched without calling them; not for a batch
  // with probes. After BeginStep.
  virtual void RunStep(absl::FunctionRef<void()> ops) { ops(); }

  // out [rows, hidden] = rows batch.tokens of the embedding matrix; the rows of tokens that it lacks, which
  // an adapter brings, are left to AdaptEmbedding.
  virtual void Embed(Tensor out, const Weight& embedding) = 0;
  // kernels/elementwise.h RmsNorm of the residual stream over all columns.
  virtual void RmsNorm(Tensor y, Tensor x, const Buffer& weight, float eps) = 0;
  // x += delta, and then RmsNorm(y, x).
  virtual void AddRmsNorm(Tensor y, Tensor x, Tensor delta, const Buffer& weight, float eps) = 0;
  // Row i of y is the norm of row rows[i] of x. `rows` is of the batch, as its logit_rows are.
  virtual void RmsNormRows(Tensor y, Tensor x, std::span<const int32_t> rows, const Buffer& weight,
                           float eps) = 0;
  // For every probe of the batch, with x the residual stream as it enters `layer`: adds what the layer's row
  // of each of the router's choices gives the probe's rows of x, one after the other, to the probe's sums,
  // see kernels/router.h. Where the probe decides, Router::Pick of the sums is what the runs that it decides
  // use in this layer from here on. Not called for a batch without probes.
  virtual void Route(Tensor x, int layer) = 0;
  // What a probe of the batch has found out. REQUIRES: FinishStep has returned OK. Valid until the next
  // BeginStep.
  virtual Routed Routes(int probe) = 0;
  // y = x W^T + bias.
  virtual void Gemm(Tensor y, Tensor x, const Weight& weight) = 0;
  // y += the change of every run's adapter to the projections of `group` in `layer`; the group's outputs
  // stand side by side in y (q|k|v, gate|up). Launches nothing when the batch has no runs.
  virtual void AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) = 0;
  // The embedding and lm_head of the runs whose adapter has rows of its own there, or a LoRA: `out` holds
  // what Embed made, `logits` what Gemm made of x [logit rows, hidden]; other rows are untouched. The logits
  // of tokens that an adapter brings stand behind the columns of the base's. Launch nothing when no run has
  // such an adapter.
  virtual void AdaptEmbedding(Tensor out) = 0;
  virtual void AdaptHead(Tensor logits, Tensor x) = 0;
  // [rows of the run, gate_count() of its adapter]: the gates that the step's AddLora calls used for the run
  // with this Batch::Run::gates. REQUIRES: FinishStep has returned OK. Valid until the next BeginStep.
  virtual std::span<const float> Gates(int record) = 0;
  // In `qkv` [rows, q | k | v], in place: norms each head of q and k where the network does, rotates them by
  // the positions of the batch; and writes k and v into the batch's slots.
  virtual void RopeAndWriteKv(Tensor qkv, const HeadNorms& norms, const KvCacheView& kv) = 0;
  // kernels/attention.h Attend over the batch's segments.
  virtual void Attend(Tensor out, Tensor q, const KvCacheView& kv, float scale) = 0;
  virtual void SiluMul(Tensor y, Tensor gate_up) = 0;
  virtual void Add(Tensor y, Tensor x) = 0;

  // Draws from rows of logits (which it may overwrite) and scores others (kernels/sampling.h); the indices
  // are rows of `logits`. A row has the tokens of the base, or those of the adapter of its run; with a mask,
  // which knows no others, no more than those of the base. The last op of a step, at most once. `sampled`
  // [draws] and `scored` [scores] are filled in when FinishStep has returned OK, and must stay until then;
  // the draws need not.
  virtual void Sample(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
                      std::span<Sampled> sampled, std::span<Sampled> scored) = 0;
  // The end of the step: returns when the device has run all of its ops. The first error that any of them met
  // since BeginStep, or that the device reports now; the results of a step that failed mean nothing.
  virtual absl::Status FinishStep() { return absl::OkStatus(); }
  // Copies a tensor to host floats, row by row. Waits for the device.
  virtual void ReadBack(Tensor x, std::span<float> out) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_BACKEND_H_
