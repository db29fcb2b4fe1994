// A device that only holds adapters, for tests of what loads them.
#ifndef HYDRAD_TESTS_FAKES_FAKE_BACKEND_H_
#define HYDRAD_TESTS_FAKES_FAKE_BACKEND_H_

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/backend/backend.h"
#include "server/base/mutex.h"
#include "server/base/status.h"

namespace hydrad {

// Thread-safe. Outlives its adapters. Everything but LoadAdapter and AdapterBytes ends the test.
class FakeBackend final : public Backend {
 public:
  // Two bytes for every value of every matrix.
  size_t AdapterBytes(const AdapterWeights& weights, const AdapterShape&) const override {
    size_t values = 0;
    const auto add = [&](const HostMatrix& m) { values += static_cast<size_t>(m.rows) * m.cols; };
    for (const ProjectionWeights& p : weights.projections) {
      for (const HostMatrix& m : p.a) add(m);
      for (const HostMatrix& m : p.b) add(m);
      add(p.router);
    }
    add(weights.embedding.rows);
    add(weights.head.rows);
    return 2 * values;
  }

  // Fails on the call that FailLoad names; waits while the gate is closed.
  absl::StatusOr<std::unique_ptr<DeviceAdapter>> LoadAdapter(const AdapterWeights& weights,
                                                             const AdapterShape& shape) override {
    const size_t bytes = AdapterBytes(weights, shape);
    MutexLock lock(&mu_);
    const int call = ++calls_;
    ++waiting_;
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return gate_open_; });
    --waiting_;
    if (call == fail_call_) return Internal("the fake device failed call {}", call);
    auto device = std::make_unique<Held>(*this, bytes + extra_bytes_, ContentOf(weights));
    device_adapters_.Add(*device);
    live_.insert(device.get());
    live_bytes_ += bytes + extra_bytes_;
    return device;
  }

  // A number that tells apart what adapters hold.
  static uint64_t ContentOf(const AdapterWeights& weights) {
    uint64_t hash = 1469598103934665603u;  // FNV-1a over the bytes of every A and B
    for (const ProjectionWeights& p : weights.projections) {
      for (const auto* matrices : {&p.a, &p.b}) {
        for (const HostMatrix& m : *matrices) {
          const size_t size = static_cast<size_t>(m.rows) * m.cols * (m.dtype == DType::kF32 ? 4 : 2);
          const auto* bytes = static_cast<const unsigned char*>(m.data);
          for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
        }
      }
    }
    return hash;
  }
  // Of a live adapter of this device.
  static uint64_t ContentOf(const DeviceAdapter& device) {
    return static_cast<const Held&>(device).content();
  }

  // The n-th LoadAdapter from the start fails, counted from 1; 0: none.
  void FailLoad(int call) {
    MutexLock lock(&mu_);
    fail_call_ = call;
  }
  // Adapters hold more than AdapterBytes said.
  void TakeExtra(size_t bytes) {
    MutexLock lock(&mu_);
    extra_bytes_ = bytes;
  }
  void CloseGate() {
    MutexLock lock(&mu_);
    gate_open_ = false;
  }
  void OpenGate() {
    MutexLock lock(&mu_);
    gate_open_ = true;
  }
  // Returns when `count` loads stand at the closed gate.
  void AwaitAtGate(int count) {
    MutexLock lock(&mu_);
    mu_.Await([this, count]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return waiting_ >= count; });
  }

  int calls() const {
    MutexLock lock(&mu_);
    return calls_;
  }
  int live() const {
    MutexLock lock(&mu_);
    return static_cast<int>(live_.size());
  }
  size_t live_bytes() const {
    MutexLock lock(&mu_);
    return live_bytes_;
  }
  bool IsLive(const DeviceAdapter* device) const {
    MutexLock lock(&mu_);
    return live_.contains(device);
  }

  DeviceAdapters& device_adapters() override { return device_adapters_; }
  std::string description() const override { return "fake"; }
  DType activation_type() const override { return DType::kF32; }
  WeightFormat weight_format() const override { return kBf16Weights; }
  DType adapter_type() const override { return DType::kBf16; }
  DType kv_type() const override { return DType::kBf16; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t) override { Unused(); }
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const HostMatrix>,
                                                     std::span<const float>) override {
    Unused();
  }
  // Held like an adapter, and counted as a call of LoadAdapter.
  absl::StatusOr<std::unique_ptr<Buffer>> LoadVector(std::span<const float> values) override {
    MutexLock lock(&mu_);
    if (++calls_ == fail_call_) return Internal("the fake device failed call {}", calls_);
    live_bytes_ += values.size_bytes();
    return std::make_unique<HeldVector>(*this, values);
  }
  absl::Status Reserve(const StepLimits&) override { Unused(); }
  void BeginStep(const Batch&, std::span<const double>) override { Unused(); }
  void Embed(Tensor, const Weight&) override { Unused(); }
  void AdaptEmbedding(Tensor) override { Unused(); }
  void AdaptHead(Tensor, Tensor) override { Unused(); }
  void RmsNorm(Tensor, Tensor, const Buffer&, float) override { Unused(); }
  void RmsNormRows(Tensor, Tensor, std::span<const int32_t>, const Buffer&, float) override { Unused(); }
  void Gemm(Tensor, Tensor, const Weight&) override { Unused(); }
  void AddLora(Tensor, Tensor, int, ProjectionGroup) override { Unused(); }
  std::span<const float> Gates(int) override { Unused(); }
  void Route(Tensor, int) override { Unused(); }
  Routed Routes(int) override { Unused(); }
  void AddRmsNorm(Tensor, Tensor, Tensor, const Buffer&, float) override { Unused(); }
  void RopeAndWriteKv(Tensor, const HeadNorms&, const KvCacheView&) override { Unused(); }
  void Attend(Tensor, Tensor, const KvCacheView&, float) override { Unused(); }
  void SiluMul(Tensor, Tensor) override { Unused(); }
  void Add(Tensor, Tensor) override { Unused(); }
  void Sample(Tensor, std::span<const Draw>, std::span<const ScoreRow>, std::span<Sampled>,
              std::span<Sampled>) override {
    Unused();
  }
  void ReadBack(Tensor, std::span<float>) override { Unused(); }

 private:
  class Held final : public DeviceAdapter {
   public:
    Held(FakeBackend& backend, size_t bytes, uint64_t content)
        : backend_(backend), bytes_(bytes), content_(content) {}
    ~Held() override {
      MutexLock lock(&backend_.mu_);
      backend_.live_.erase(this);
      backend_.live_bytes_ -= bytes_;
    }
    size_t bytes() const override { return bytes_; }
    uint64_t content() const { return content_; }

   private:
    FakeBackend& backend_;
    const size_t bytes_;
    const uint64_t content_;
  };

  class HeldVector final : public Buffer {
   public:
    HeldVector(FakeBackend& backend, std::span<const float> values)
        : backend_(backend), values_(values.begin(), values.end()) {}
    ~HeldVector() override {
      MutexLock lock(&backend_.mu_);
      backend_.live_bytes_ -= bytes();
    }
    void* data() const override { return const_cast<float*>(values_.data()); }
    size_t bytes() const override { return values_.size() * sizeof(float); }

   private:
    FakeBackend& backend_;
    const std::vector<float> values_;
  };

  [[noreturn]] static void Unused() {
    CheckFailed(__FILE__, __LINE__, "the fake backend only holds adapters");
  }

  DeviceAdapters device_adapters_;
  mutable Mutex mu_;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  int fail_call_ ABSL_GUARDED_BY(mu_) = 0;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
  size_t extra_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool gate_open_ ABSL_GUARDED_BY(mu_) = true;
  std::set<const DeviceAdapter*> live_ ABSL_GUARDED_BY(mu_);
  size_t live_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_BACKEND_H_
