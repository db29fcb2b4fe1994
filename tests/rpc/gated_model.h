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
// it before the scheduler goes. A test that wants a stream in its middle closes the gate before it asks,
// after as many steps as the stream may have: a gate that is closed later may find it at its end.
class GatedModel final : public Model {
 public:
  explicit GatedModel(std::unique_ptr<Model> model) : model_(std::move(model)) {}

  void Close() { CloseAfter(0); }
  // Opens it for so many steps.
  void CloseAfter(int steps) {
    MutexLock lock(&mu_);
    left_ = steps;
  }
  void Open() {
    MutexLock lock(&mu_);
    left_.reset();
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
      waiting_ = left_ == 0;
      mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return left_ != 0; });
      waiting_ = false;
      if (left_) --*left_;
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
  std::optional<int> left_ ABSL_GUARDED_BY(mu_);  // steps until the gate is closed; none: it is open
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_RPC_GATED_MODEL_H_
