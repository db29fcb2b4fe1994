#include "client/gather.h"

namespace hydrad {
namespace {

// Far above the server's limit for n: a broken server cannot make us allocate at will.
constexpr int kMaxChoices = 4096;

void GatherCall(const v1::CalledTool& more, v1::Chunk& choice) {
  const int calls = choice.tool_calls_size();
  if (calls > 0 && choice.tool_calls(calls - 1).index() == more.index()) {
    *choice.mutable_tool_calls(calls - 1)->mutable_arguments() += more.arguments();
  } else {
    *choice.add_tool_calls() = more;
  }
}

void GatherChunk(const v1::Chunk& chunk, v1::GenerateResult& result) {
  if (chunk.choice() < 0 || chunk.choice() >= kMaxChoices) return;
  while (result.choices_size() <= chunk.choice()) result.add_choices()->set_choice(result.choices_size() - 1);
  v1::Chunk& choice = *result.mutable_choices(chunk.choice());
  *choice.mutable_text() += chunk.text();
  if (!chunk.reasoning().empty()) *choice.mutable_reasoning() += chunk.reasoning();
  for (const v1::CalledTool& more : chunk.tool_calls()) GatherCall(more, choice);
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
