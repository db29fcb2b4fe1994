#include "server/scheduler/fit_to_model.h"

#include <algorithm>

#include "server/base/invalid_argument.h"

namespace hydrad {

absl::Status FitToModel(int vocab_size, const ModelLimits& limits, Request* request) {
  const int64_t prompt = static_cast<int64_t>(request->prompt.size());
  Stopping& stopping = request->stopping;
  if (prompt == 0) return InvalidArgument("the prompt has no tokens");
  if (request->n < 1) return InvalidArgument("n is {}; at least one choice is needed", request->n);
  if (stopping.max_tokens < 1) return InvalidArgument("max_tokens is {}; at least 1", stopping.max_tokens);
  if (request->tokens != nullptr) vocab_size = std::max(vocab_size, request->tokens->vocab);
  for (const int32_t token : request->prompt) {
    if (token < 0 || token >= vocab_size) {
      return InvalidArgument("prompt token {} is outside the vocabulary of {}", token, vocab_size);
    }
  }
  if (prompt >= limits.max_context) {
    return InvalidArgument("the prompt has {} tokens; the context of {} must leave room for one more", prompt,
                           limits.max_context);
  }
  stopping.max_tokens = std::min(stopping.max_tokens, limits.max_context - static_cast<int>(prompt));
  stopping.min_tokens = std::clamp(stopping.min_tokens, 0, stopping.max_tokens);
  // The last token drawn is never run, so it needs no place.
  const int64_t blocks = (prompt + stopping.max_tokens - 1 + limits.block_size - 1) / limits.block_size;
  if (blocks > limits.kv_blocks) {
    return InvalidArgument("{} prompt tokens and max_tokens {} need {} blocks of KV cache; the server has {}",
                           prompt, stopping.max_tokens, blocks, limits.kv_blocks);
  }
  return absl::OkStatus();
}

PolicyLimits LimitsOf(const SchedulerOptions& options, const ModelLimits& model) {
  PolicyLimits limits;
  limits.max_rows = model.max_rows;
  limits.max_logit_rows = model.max_logit_rows;
  limits.max_running = std::max(1, std::min({options.max_running, model.max_rows, model.max_logit_rows}));
  limits.prefill_chunk = std::max(1, std::min(options.prefill_chunk, model.max_rows));
  limits.block_size = model.block_size;
  limits.watermark_blocks = std::max(1, model.kv_blocks / 100);
  return limits;
}

}  // namespace hydrad
