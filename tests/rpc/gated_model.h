// A model that stops when a test wants it to.
#ifndef HYDRAD_TESTS_RPC_GATED_MODEL_H_
#define HYDRAD_TESTS_RPC_GATED_MODEL_H_

#include <memory>
#include <utility>

#include "server/base/mutex.h"
#include "server/model/model.h"

namespace hydrad {

// The wrapped model, whose Forward waits while the gate is closed. The gate may be used from any thread; open
// it before the scheduler goes.
class GatedModel final : public Model {
 public:
  explicit GatedModel(std::unique_ptr<Model> model) : model_(std::move(model)) {}

  void Close() {
    MutexLock lock(&mu_);
    open_ = false;
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
  }
  // Returns when a step stands at the closed gate.
  void AwaitStep() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return waiting_; });
  }

  const ModelConfig& config() const override { return model_->config(); }
  const ModelLimits& limits() const override { return model_->limits(); }
  void Forward(const Batch& batch) override {
    {
      MutexLock lock(&mu_);
      waiting_ = !open_;
      mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_; });
      waiting_ = false;
    }
    model_->Forward(batch);
  }
  std::span<const float> Gates(int record) override { return model_->Gates(record); }
  void Sample(std::span<const int> indices, std::span<const SampleRow> rows,
              std::span<Sampled> out) override {
    model_->Sample(indices, rows, out);
  }
  Sampled Score(int index, int32_t token, int top) override { return model_->Score(index, token, top); }

 private:
  const std::unique_ptr<Model> model_;
  Mutex mu_;
  bool open_ ABSL_GUARDED_BY(mu_) = true;
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_RPC_GATED_MODEL_H_
