// A model that stops when a test wants it to.
#ifndef HYDRAD_TESTS_RPC_GATED_MODEL_H_
#define HYDRAD_TESTS_RPC_GATED_MODEL_H_

#include <memory>
#include <optional>
#include <utility>

#include "server/base/mutex.h"
#include "server/model/model.h"

namespace hydrad {

// The wrapped model, whose Launch waits while the gate is closed. The gate may be used from any thread; open
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
  bool asynchronous() const override { return model_->asynchronous(); }
  void Prepare(const Batch& batch) override { model_->Prepare(batch); }
  Step Launch(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) override {
    {
      MutexLock lock(&mu_);
      waiting_ = !open_;
      mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_; });
      waiting_ = false;
    }
    step_.emplace(model_->Launch(batch, draws, scores));
    return Step(*this);
  }

 protected:
  absl::StatusOr<StepResult> Finish() override { return step_->Wait(); }

 private:
  const std::unique_ptr<Model> model_;
  std::optional<Step> step_;  // of the wrapped model
  Mutex mu_;
  bool open_ ABSL_GUARDED_BY(mu_) = true;
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_RPC_GATED_MODEL_H_
