// The *.safetensors files of a base model as one set of named tensors.
#ifndef HYDRAD_SERVER_MODEL_CHECKPOINT_H_
#define HYDRAD_SERVER_MODEL_CHECKPOINT_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/tensor.h"
#include "server/base/file.h"
#include "server/base/mutex.h"
#include "server/base/sha256.h"
#include "server/model/safetensors.h"

namespace hydrad {

// A matrix and the memory that it lies in.
struct OwnedMatrix {
  std::unique_ptr<std::byte[]> bytes;
  HostMatrix view;
};

// The files stay open and are read (never mapped) whenever somebody asks, however long ago they were opened,
// so that what is not being used takes no memory. What they hold must not change meanwhile: the first reading
// of a tensor remembers its digest, and every later one that gives other values is FAILED_PRECONDITION. So
// files that are truncated or written over in place are an error to whoever reads them, and those that are
// replaced by renaming others over them are not felt.
//
// Any thread may read. Errors name file and tensor.
class Checkpoint {
 public:
  // Opens the shards of `dir`/model.safetensors.index.json where there is one, else `dir`/model.safetensors;
  // only their headers are read. NOT_FOUND without either; INVALID_ARGUMENT for a broken file, an index that
  // names a file outside `dir`, or a tensor that is not in the file the index names.
  static absl::StatusOr<std::unique_ptr<const Checkpoint>> Open(const std::string& dir);

  // Reads a tensor as a matrix of exactly these extents ([cols] or [1, cols] when rows is 1), in memory of
  // its own. INVALID_ARGUMENT when it is missing or of another shape or type, or when the file ends before
  // it; FAILED_PRECONDITION when it has changed; INTERNAL when the disk fails.
  absl::StatusOr<OwnedMatrix> Read(std::string_view name, int rows, int cols) const;

  // Reads a tensor one block of rows after the other, for whoever does not need them at once: `first` is the
  // number of the block's first row, and the block goes when the call returns. The values that were shown are
  // those of the model only when all is well in the end.
  using Visitor = absl::FunctionRef<void(int first, const HostMatrix& block)>;
  absl::Status Visit(std::string_view name, int rows, int cols, Visitor visit) const;

  const std::string& dir() const { return dir_; }
  std::vector<std::string_view> names() const;

 private:
  struct Shard {
    std::shared_ptr<const File> file;
    Safetensors::Places places;
  };
  struct Place {
    const std::string* shard;
    const TensorPlace* tensor;
  };

  Checkpoint() = default;
  absl::Status AddFile(const std::string& dir, const std::string& name);
  absl::Status AddShards(const std::string& dir, std::string_view index);
  // The place of a tensor, which has these extents; its matrix is without data.
  absl::StatusOr<HostMatrix> Find(std::string_view name, int rows, int cols, Place* place) const;
  absl::Status ReadBytes(const Place& place, uint64_t begin, std::span<std::byte> out, Sha256& digest) const;
  absl::Status CheckDigest(const Place& place, const Sha256::Digest& digest) const;
  bool WasRead(const Place& place) const;
  absl::Status Changed(const Place& place) const;

  // Constant after Open.
  std::string dir_;
  std::map<std::string, Shard> shards_;  // by name within dir
  std::map<std::string, Place, std::less<>> tensors_;

  mutable Mutex mu_;
  mutable std::map<const TensorPlace*, Sha256::Digest> digests_ ABSL_GUARDED_BY(mu_);  // of what was read
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_CHECKPOINT_H_
