// What the scheduler asks of a base model: run one step, draw the next tokens.
#ifndef HYDRAD_SERVER_MODEL_MODEL_H_
#define HYDRAD_SERVER_MODEL_MODEL_H_

#include <absl/status/statusor.h>

#include <span>

#include "server/backend/step.h"
#include "server/model/model_config.h"

namespace hydrad {

class Model;

// How large a step and how much cache a model was built for.
struct ModelLimits {
  int max_rows = 512;        // rows of one step
  int max_logit_rows = 128;  // rows of one step whose logits may be asked for
  int max_context = 0;       // positions of one sequence
  int block_size = 16;       // token positions of one KV block
  int kv_blocks = 0;         // blocks in the cache
  int min_kv_blocks =
      0;  // where the device has not room for kv_blocks, down to this many will do; 0: no fewer
};

// A step that has been launched. Wait must be called before the next Launch.
class [[nodiscard]] Step {
 public:
  explicit Step(Model& model) : model_(&model) {}
  // Returns when the step is over: what it gave, or why it failed. The keys and values that a failed step
  // wrote mean nothing, and neither do those of its sequences before it where the device is at fault.
  absl::StatusOr<StepResult> Wait();

 private:
  Model* model_;
};

// Every method is for the scheduler thread. Tests use a fake.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const ModelLimits& limits() const = 0;
  // Whether Launch returns before the step is over, so that the caller gains by preparing the next one before
  // it waits.
  virtual bool asynchronous() const { return false; }
  // While a step runs: does ahead what Launch of `batch`, the step after it, needs besides its tokens.
  // Whoever launches it may put in other tokens before, and nothing else. Launching another batch drops what
  // was prepared. REQUIRES: asynchronous(); the batch keeps to limits().
  virtual void Prepare(const Batch&) {}

  // Runs the batch through the network: its K/V are in the cache afterwards. Then scores and draws from the
  // logits of batch.logit_rows; the indices of the draws ascend, as do those of the scores, and no row has
  // both. Errors of the device are for Step::Wait to tell. The batch must outlive the step. REQUIRES: the
  // batch keeps to limits(), and the step before has been waited for.
  virtual Step Launch(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) = 0;

 protected:
  friend class Step;
  // Step::Wait of the step that was launched last; its result is valid until the next Launch.
  virtual absl::StatusOr<StepResult> Finish() = 0;
};

inline absl::StatusOr<StepResult> Step::Wait() { return model_->Finish(); }

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_MODEL_H_
