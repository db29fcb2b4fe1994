// The modules that an adapter changes, as adapter_config.json tells.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_MODULES_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_MODULES_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/adapters/formats/pattern_table.h"
#include "server/base/json.h"

namespace hydrad {

// target_modules, narrowed down by exclude_modules, layers_to_transform and layers_pattern, as PEFT reads
// them. Immutable after Parse; any thread may ask.
class TargetModules {
 public:
  TargetModules() = default;  // told nothing

  // INVALID_ARGUMENT names the field: not of its type, or a pattern that is no regular expression. Beside
  // lists and patterns, target_modules may be an object of names and booleans, as MoE-PEFT writes it. Where
  // `bare_ends`, a name need not begin at a dot of the path: so in the PEFT that HydraLoRA brings.
  static absl::StatusOr<TargetModules> Parse(const Json& config, bool bare_ends);

  // Whether there is a target_modules. Without one, the tensors tell.
  bool told() const { return told_; }
  // Whether the adapter changes the module `path` ("model.layers.0.self_attn.q_proj", "lm_head").
  // INVALID_ARGUMENT when a pattern costs too much.
  absl::StatusOr<bool> Has(std::string_view path) const;

 private:
  // Names, or a pattern; nothing where both are empty.
  struct Names {
    std::vector<std::string> ends;
    std::optional<PathPattern> pattern;
    bool bare_ends = false;

    static absl::StatusOr<Names> Parse(const char* field, const Json& value);
    absl::StatusOr<bool> Has(std::string_view path) const;
  };
  absl::Status ReadLayers(const Json& config);
  absl::StatusOr<bool> HasLayer(std::string_view path) const;

  bool told_ = false, all_linear_ = false;
  Names targets_, excluded_;
  std::optional<std::vector<int>> layers_;   // where they are told
  std::vector<PathPattern> layer_patterns_;  // empty: any
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_TARGET_MODULES_H_
