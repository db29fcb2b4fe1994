// Reads a directory of an adapter's files, and checks them to the last value.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_READ_ADAPTER_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_READ_ADAPTER_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "server/adapters/formats/disk.h"
#include "server/adapters/info.h"  // ComponentInfo
#include "server/backend/adapter_weights.h"
#include "server/backend/expert_router.h"
#include "server/model/base_weights.h"

namespace hydrad {

// An adapter in host memory, and what people want to know of it.
struct AdapterContents {
  AdapterWeights weights;  // empty where there are `experts`
  // The experts of an MoA, which picks one of them per sequence: at least one, and how it picks.
  std::vector<ExpertWeights> experts_by_name;
  std::vector<uint64_t> expert_host_bytes;  // of the host_bytes, each expert's without its rows
  RouterPool pool = RouterPool::kLast;
  Decision decision = Decision::kVote;
  std::string family;  // "lora", "hydralora", "loramoe", "mola", "adamole", "mole", "moa"
  // "sha256:<hex>" over the two files one after the other, as of
  // `cat adapter_config.json adapter_model.safetensors | sha256sum`; those of experts in directories of their
  // own come after them, in the order of the experts.
  std::string digest;
  // The bytes that it keeps in memory: its files, what was converted of them, and what was worked out (DoRA,
  // biases).
  uint64_t host_bytes = 0;
  int max_rank = 0;
  int experts = 1;       // largest number of experts of a projection, or that can be picked
  AdapterTraits traits;  // of `weights`
  // The names of the projections that some layer adapts, in kProjectionNames' order.
  std::vector<std::string> targets;
  std::vector<int32_t> invocation;    // see TokenFields
  std::string base_model;             // it was trained on this one, as its config names it
  std::vector<std::string> warnings;  // what a lenient reading left alone or dropped
};

// Reads adapter_config.json and adapter_model.safetensors of the directory `path`; the config tells the
// format. Other files are not opened. Both are read into memory, so host memory of the file's size is in use
// until `weights` goes (and twice more for tensors of type F16, which are widened to F32). Errors name file,
// tensor or field, and reason, in printable text, with paths relative to the adapter root: NOT_FOUND and
// PERMISSION_DENIED for the directory and its files; INVALID_ARGUMENT for anything in them that is broken,
// left over, missing, not of the base model's `shape`, not finite or not supported; RESOURCE_EXHAUSTED
// without memory; INTERNAL when the disk fails. `base` is read where an adapter is told against the base's
// own numbers (DoRA, trained biases, copies of base matrices): FAILED_PRECONDITION for such a one where it is
// null. Thread-safe for different calls.
//
// Tensors that are missing or left over, by what target_modules tells, are refused. Where the reading is
// `lenient`, whole modules that are missing or left over are taken as PEFT takes them (see target_check.h).
//
// An MoA's expert_paths are directories beneath the adapter's own, or, where that has none of the name,
// beneath the root; neither can leave the root. Each holds a plain LoRA (and perhaps its row of the routers,
// see moa.h). Where all experts have one, the adapter needs no adapter_model.safetensors.
absl::StatusOr<AdapterContents> ReadAdapter(Disk& disk, const std::string& path, const AdapterShape& shape,
                                            uint64_t max_file_bytes, const BaseWeights* base = nullptr,
                                            bool lenient = false);

// Reads one component (see ComponentInfo) of the MoA in `path`, and no more than that takes: the weights of
// the expert of that name, or the rows of the routers of all experts; experts_by_name has the rest of it
// empty. FAILED_PRECONDITION where it is no MoA any more, or has no such expert.
absl::StatusOr<AdapterContents> ReadMoaComponent(Disk& disk, const std::string& path,
                                                 ComponentInfo::Kind kind, const std::string& expert,
                                                 const AdapterShape& shape, uint64_t max_file_bytes,
                                                 bool lenient = false);

// The bytes of the numbers that were worked out at load and stand in no file.
uint64_t VectorBytes(const AdapterWeights& weights);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_READ_ADAPTER_H_
