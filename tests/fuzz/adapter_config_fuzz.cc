// Any text as an adapter_config.json: whatever parses must answer for every module with a rank and a finite
// scale, or with an error; an MoA's experts have theirs for all modules.
#include <cmath>

#include "server/adapters/formats/adapter_config.h"
#include "server/base/check.h"

static void CheckExperts(const hydrad::MoaConfig& moa) {
  HYDRAD_CHECK(!moa.experts.empty());
  for (const auto& expert : moa.experts) {
    if (!expert.path.empty()) continue;  // its own adapter_config.json tells
    HYDRAD_CHECK(expert.rank > 0);
    HYDRAD_CHECK(std::isfinite(static_cast<float>(expert.alpha / expert.rank)));
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = hydrad::ParseAdapterConfig({reinterpret_cast<const char*>(data), size});
  if (!config.ok()) return 0;
  if (config->moa) {
    CheckExperts(*config->moa);
    return 0;
  }
  for (const char* path : {"model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head"}) {
    const auto rank = config->RankOf(path);
    if (rank.ok()) HYDRAD_CHECK(*rank > 0);
    const auto scale = config->ScaleOf(path);
    if (scale.ok()) HYDRAD_CHECK(std::isfinite(*scale));
  }
  return 0;
}
