// What the scheduler asks of a base model: run one step, draw the next tokens.
#ifndef HYDRAD_SERVER_MODEL_MODEL_H_
#define HYDRAD_SERVER_MODEL_MODEL_H_

#include <span>

#include "kernels/sampling.h"
#include "server/backend/step.h"
#include "server/model/model_config.h"

namespace hydrad {

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

// Every method is for the scheduler thread. Tests use a fake.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const ModelLimits& limits() const = 0;

  // Runs the batch through the network: its K/V are in the cache afterwards, and the logits of
  // batch.logit_rows wait for Sample and Score. REQUIRES: the batch keeps to limits().
  virtual void Forward(const Batch& batch) = 0;

  // Backend::Gates of the batch. Valid until the next Forward.
  virtual std::span<const float> Gates(int record) = 0;

  // Draws from the logits of logit_rows[i], for i in the ascending `indices`: rows and out have as many
  // entries.
  virtual void Sample(std::span<const int> indices, std::span<const SampleRow> rows,
                      std::span<Sampled> out) = 0;

  // Log-probability of `token` under the logits of logit_rows[index], and of the `top` most likely. Before
  // Sample.
  virtual Sampled Score(int index, int32_t token, int top) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_MODEL_H_
