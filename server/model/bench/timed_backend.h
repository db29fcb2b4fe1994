// A backend that notes how long each kind of op takes, for profiles without a profiler.
#ifndef HYDRAD_SERVER_MODEL_BENCH_TIMED_BACKEND_H_
#define HYDRAD_SERVER_MODEL_BENCH_TIMED_BACKEND_H_

#include <fmt/core.h>

#include <time.h>

#include <chrono>
#include <map>
#include <string>

#include "server/backend/backend.h"

namespace hydrad::bench {

using SecondsNow = double (*)();
inline double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
// The calling thread's time: the cost of a run on one thread while others use the machine too.
inline double ThreadCpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Forwards everything to `inner`, which must outlive it. For one thread, and for devices whose ops wait.
class TimedBackend : public Backend {
 public:
  TimedBackend(Backend& inner, SecondsNow now) : inner_(inner), now_(now) {}

  std::map<std::string, double>& seconds() { return seconds_; }  // by op

  std::string description() const override { return inner_.description(); }
  DType activation_type() const override { return inner_.activation_type(); }
  WeightFormat weight_format() const override { return inner_.weight_format(); }
  DType adapter_type() const override { return inner_.adapter_type(); }
  DType kv_type() const override { return inner_.kv_type(); }
  int more_tokens() const override { return inner_.more_tokens(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override { return inner_.Allocate(bytes); }
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const HostMatrix> parts,
                                                     std::span<const float> bias) override {
    auto weight = inner_.LoadWeight(parts, bias);
    if (weight.ok()) weight_bytes_ += (*weight)->bytes();
    return weight;
  }
  absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(std::span<const float> values) override {
    return inner_.LoadVector(values);
  }
  size_t AdapterBytes(const AdapterWeights& weights, const AdapterShape& shape) const override {
    return inner_.AdapterBytes(weights, shape);
  }
  absl::StatusOr<std::unique_ptr<DeviceAdapter>> LoadAdapter(const AdapterWeights& weights,
                                                             const AdapterShape& shape) override {
    return inner_.LoadAdapter(weights, shape);
  }
  DeviceAdapters& device_adapters() override { return inner_.device_adapters(); }

  absl::Status Reserve(const StepLimits& limits) override { return inner_.Reserve(limits); }
  bool asynchronous() const override { return inner_.asynchronous(); }
  void PrepareStep(const Batch& batch) override { inner_.PrepareStep(batch); }
  void BeginStep(const Batch& batch, std::span<const double> inv_freq) override {
    Time("begin step", [&] { inner_.BeginStep(batch, inv_freq); });
  }
  void Embed(Tensor out, const Weight& embedding) override {
    Time("embed", [&] { inner_.Embed(out, embedding); });
  }
  void RmsNorm(Tensor y, Tensor x, const Buffer& weight, float eps) override {
    Time("norm", [&] { inner_.RmsNorm(y, x, weight, eps); });
  }
  void AddRmsNorm(Tensor y, Tensor x, Tensor delta, const Buffer& weight, float eps) override {
    Time("norm", [&] { inner_.AddRmsNorm(y, x, delta, weight, eps); });
  }
  void RmsNormRows(Tensor y, Tensor x, std::span<const int32_t> rows, const Buffer& weight,
                   float eps) override {
    Time("norm", [&] { inner_.RmsNormRows(y, x, rows, weight, eps); });
  }
  void Gemm(Tensor y, Tensor x, const Weight& weight) override {
    Time(fmt::format("gemm {}x{}", weight.rows(), weight.cols()), [&] { inner_.Gemm(y, x, weight); });
  }
  void AdaptEmbedding(Tensor out) override {
    Time("embed", [&] { inner_.AdaptEmbedding(out); });
  }
  void AdaptHead(Tensor logits, Tensor x) override {
    Time("gemm", [&] { inner_.AdaptHead(logits, x); });
  }
  void AddLora(Tensor y, Tensor x, int layer, ProjectionGroup group) override {
    Time("lora", [&] { inner_.AddLora(y, x, layer, group); });
  }
  void Route(Tensor x, int layer) override {
    Time("route", [&] { inner_.Route(x, layer); });
  }
  Routed Routes(int probe) override { return inner_.Routes(probe); }
  std::span<const float> Gates(int record) override { return inner_.Gates(record); }
  void RopeAndWriteKv(Tensor qkv, const HeadNorms& norms, const KvCacheView& kv) override {
    Time("rope and write kv", [&] { inner_.RopeAndWriteKv(qkv, norms, kv); });
  }
  void Attend(Tensor out, Tensor q, const KvCacheView& kv, float scale) override {
    Time("attend", [&] { inner_.Attend(out, q, kv, scale); });
  }
  void SiluMul(Tensor y, Tensor gate_up) override {
    Time("silu", [&] { inner_.SiluMul(y, gate_up); });
  }
  void Add(Tensor y, Tensor x) override {
    Time("add", [&] { inner_.Add(y, x); });
  }
  void Sample(Tensor logits, std::span<const Draw> draws, std::span<const ScoreRow> scores,
              std::span<Sampled> sampled, std::span<Sampled> scored) override {
    Time("sample", [&] { inner_.Sample(logits, draws, scores, sampled, scored); });
  }
  absl::Status FinishStep() override { return inner_.FinishStep(); }
  void ReadBack(Tensor x, std::span<float> out) override { inner_.ReadBack(x, out); }

  size_t weight_bytes() const { return weight_bytes_; }  // of all base weights loaded so far

 private:
  template <class F>
  void Time(const std::string& op, const F& body) {
    const double begin = now_();
    body();
    seconds_[op] += now_() - begin;
  }

  Backend& inner_;
  const SecondsNow now_;
  std::map<std::string, double> seconds_;
  size_t weight_bytes_ = 0;
};

}  // namespace hydrad::bench

#endif  // HYDRAD_SERVER_MODEL_BENCH_TIMED_BACKEND_H_
