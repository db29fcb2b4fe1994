// Looks at what lies in a base model's directory.
#ifndef HYDRAD_SERVER_MODEL_MODEL_DIRECTORY_H_
#define HYDRAD_SERVER_MODEL_MODEL_DIRECTORY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>

#include "server/model/model_config.h"

namespace hydrad {

// Whether the weights of `dir` have both an embedding and an lm_head, with different values. False without
// weights; otherwise errors of Checkpoint.
absl::StatusOr<bool> HasHeadOfItsOwn(const std::string& dir, const ModelConfig& config);

// Returns `status`, of opening a file that a model has. A NOT_FOUND says what is there instead, where that
// helps: a file in place of the directory, GGUF, weights as pickles or of MLX, an adapter.
absl::Status ExplainModelDirectory(const absl::Status& status, const std::string& dir);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_MODEL_DIRECTORY_H_
