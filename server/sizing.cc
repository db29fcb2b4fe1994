#include "server/sizing.h"

#include <algorithm>
#include <limits>

#include "server/base/status.h"
#include "server/model/transformer.h"

namespace hydrad {

absl::StatusOr<ModelLimits> SizeModel(const Config& config, const ModelConfig& model, DType kv_type,
                                      bool budgeted) {
  const bool windowed = model.sliding_window > 0;
  const int positions = windowed ? model.sliding_window : model.max_positions;
  if (config.max_context > positions) {
    return FailedPrecondition(
        "--max-context {} is more than the {} positions {}", config.max_context, positions,
        windowed ? "of the model's sliding window, up to which it is served" : "that the model was made for");
  }
  ModelLimits limits;
  limits.max_context = config.max_context > 0 ? config.max_context : positions;
  limits.max_rows = config.max_running + std::max(config.prefill_chunk, config.unsplit_prompt);
  limits.max_logit_rows = config.max_running;

  const uint64_t block_bytes = KvBlockBytes(model, limits, kv_type);
  const uint64_t per_sequence = (limits.max_context + limits.block_size - 1) / limits.block_size;
  uint64_t blocks = config.kv_cache_memory / block_bytes;
  if (config.kv_cache_memory == 0) {
    blocks = config.max_running * per_sequence;
    if (!budgeted) blocks = std::max(std::min(blocks, kDefaultKvCacheMemory / block_bytes), per_sequence);
    if (budgeted) limits.min_kv_blocks = static_cast<int>(per_sequence);
  }
  if (blocks < per_sequence) {
    return FailedPrecondition(
        "--kv-cache-memory {} holds {} token positions, and one sequence may have {}: give at least {} bytes "
        "or lower "
        "--max-context",
        config.kv_cache_memory, blocks * limits.block_size, limits.max_context, per_sequence * block_bytes);
  }
  limits.kv_blocks =
      static_cast<int>(std::min<uint64_t>(blocks, std::numeric_limits<int>::max() / limits.block_size));
  return limits;
}

}  // namespace hydrad
