// The fields of an MoA's adapter_config.json beside those that all formats have. MoA (Feng et al.,
// "Mixture-of-LoRAs", arXiv 2403.03432) has no published file format; this one follows PEFT's:
//
//   "peft_type": "MOA",
//   "experts": ["poems", "sums"],          names, [a-zA-Z0-9_-]{1,64}, in the order of the routers' rows
//   "r": 8, "lora_alpha": 16,              or a list with a number for each expert
//   "router": {"input": "block_input", "pool": "last" | "mean", "bias": true | false},
//   "decision": "vote" | "last" | "layer" | "label",      when a request does not say
//   "expert_paths": {"sums": "sums-v2"}    experts that are PEFT directories of their own; see ReadAdapter
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_MOA_CONFIG_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_MOA_CONFIG_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "server/backend/expert_router.h"
#include "server/base/json.h"

namespace hydrad {

struct MoaConfig {
  struct Expert {
    std::string name;
    std::string path;  // its own directory; "": its tensors stand in the bundle
    int rank = 0;      // of the bundle's tensors
    double alpha = 0;
  };
  std::vector<Expert> experts;  // at least one
  RouterPool pool = RouterPool::kLast;
  bool router_bias = false;
  Decision decision = Decision::kVote;
};

inline constexpr size_t kMaxExperts = 256;

// [a-zA-Z0-9_-]{1,64}
bool IsExpertName(std::string_view name);

// Reads the fields above and takes them out of `config`, an object whose peft_type is MOA. INVALID_ARGUMENT
// names the field and the reason.
absl::StatusOr<MoaConfig> TakeMoaConfig(Json& config);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_MOA_CONFIG_H_
