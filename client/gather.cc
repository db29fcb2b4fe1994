#include "client/gather.h"

namespace hydrad {
namespace {

// Far above the server's limit for n: a broken server cannot make us allocate at will.
constexpr int kMaxChoices = 4096;

void GatherChunk(const v1::Chunk& chunk, v1::GenerateResult& result) {
  if (chunk.choice() < 0 || chunk.choice() >= kMaxChoices) return;
  while (result.choices_size() <= chunk.choice()) result.add_choices()->set_choice(result.choices_size() - 1);
  v1::Chunk& choice = *result.mutable_choices(chunk.choice());
  *choice.mutable_text() += chunk.text();
  choice.mutable_token_ids()->MergeFrom(chunk.token_ids());
  choice.mutable_logprobs()->MergeFrom(chunk.logprobs());
  if (chunk.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) choice.set_finish_reason(chunk.finish_reason());
  if (!chunk.stop().empty()) choice.set_stop(chunk.stop());
}

}  // namespace

void Gather(const v1::GenerateResponse& message, v1::GenerateResult& result) {
  if (message.has_start()) *result.mutable_start() = message.start();
  if (message.has_chunk()) GatherChunk(message.chunk(), result);
  if (!message.has_end()) return;
  *result.mutable_usage() = message.end().usage();
  *result.mutable_routing() = message.end().routing();
}

}  // namespace hydrad
