// The *.safetensors files of a base model as one set of named tensors.
#ifndef HYDRAD_SERVER_MODEL_CHECKPOINT_H_
#define HYDRAD_SERVER_MODEL_CHECKPOINT_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "server/model/safetensors.h"

namespace hydrad {

// Immutable after Open; any thread may read. Tensors live as long as the object.
class Checkpoint {
 public:
  // The shards of `dir`/model.safetensors.index.json where there is one, else `dir`/model.safetensors.
  // NOT_FOUND without either; INVALID_ARGUMENT, naming file and tensor, for a broken file, an index that
  // names a file outside `dir`, or a tensor that is not in the file the index names.
  static absl::StatusOr<Checkpoint> Open(const std::string& dir);

  Checkpoint(Checkpoint&&) = default;  // not copied: its places point into its own files
  Checkpoint& operator=(Checkpoint&&) = default;

  // The tensor as a matrix of exactly these extents ([cols] or [1, cols] when rows is 1). INVALID_ARGUMENT,
  // naming file and tensor, when it is missing or of another shape or type.
  absl::StatusOr<HostMatrix> Matrix(std::string_view name, int rows, int cols) const;

  std::vector<std::string_view> names() const;

 private:
  Checkpoint() = default;

  struct Place {
    const std::string* file;
    const TensorInfo* tensor;
  };

  absl::Status AddFile(const std::string& dir, const std::string& name);
  absl::Status AddShards(const std::string& dir, std::string_view index);

  std::string dir_;
  std::map<std::string, Safetensors> files_;  // by name within dir
  std::map<std::string, Place, std::less<>> tensors_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_CHECKPOINT_H_
