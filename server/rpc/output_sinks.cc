#include "server/rpc/output_sinks.h"

#include <utility>

#include "server/base/status.h"
#include "server/rpc/to_proto.h"

namespace hydrad {
namespace {

void Fill(const OutputStart& from, const TokenBytes& token_bytes, v1::Start* start) {
  start->set_approximate(from.approximate);
  for (size_t i = 0; i < from.generations.size(); ++i) {
    if (start->adapters().empty()) {
      start->set_generation(from.generations[i]);
    } else {
      start->mutable_adapters(static_cast<int>(i))->set_generation(from.generations[i]);
    }
  }
  for (const Sampled& sampled : from.prompt_logprobs) {
    *start->add_prompt_logprobs() = ToProto(sampled, token_bytes);
  }
  if (from.route) *start->mutable_route() = ToProto(*from.route);
}

v1::Chunk ChunkOf(OutputPiece piece, OutputHead& head) {
  if (head.answer) return ToProto(std::move(piece), *head.answer, head.token_ids, head.token_bytes);
  return ToProto(std::move(piece), head.token_ids, head.token_bytes);
}

// All of the piece may be held back by whoever takes the answer apart.
bool SaysNothing(const v1::Chunk& chunk) {
  return chunk.text().empty() && chunk.reasoning().empty() && chunk.tool_calls().empty() &&
         chunk.token_ids().empty() && chunk.logprobs().empty() &&
         chunk.finish_reason() == v1::FINISH_REASON_UNSPECIFIED;
}

absl::Status Dropped() { return Internal("the request was dropped"); }

}  // namespace

StreamSink::~StreamSink() { queue_->Close(Dropped()); }

void StreamSink::OnStart(OutputStart start) {
  v1::GenerateResponse message;
  *message.mutable_start() = std::move(head_.start);
  Fill(start, head_.token_bytes, message.mutable_start());
  queue_->Push(std::move(message));  // if the reader has gone, the first piece tells the scheduler
}

bool StreamSink::OnPiece(OutputPiece piece) {
  const size_t choice = static_cast<size_t>(piece.choice);
  v1::GenerateResponse message;
  *message.mutable_chunk() = ChunkOf(std::move(piece), head_);
  if (head_.answer && SaysNothing(message.chunk())) return true;
  if (echoed_.size() <= choice) echoed_.resize(choice + 1);
  if (!echoed_[choice]) message.mutable_chunk()->mutable_text()->insert(0, head_.echo);
  echoed_[choice] = true;
  return queue_->Push(std::move(message));
}

void StreamSink::OnDone(absl::Status status, const Usage& usage) {
  if (!status.ok()) return queue_->Close(std::move(status));
  v1::GenerateResponse message;
  *message.mutable_end()->mutable_usage() = ToProto(usage);
  message.mutable_end()->set_approximate(usage.approximate);
  for (const AdapterRouting& routing : usage.routing)
    *message.mutable_end()->add_routing() = ToProto(routing);
  queue_->Close(std::move(status), std::move(message));
}

GatherSink::GatherSink(OutputHead head, int choices, v1::GenerateResult* result,
                       std::shared_ptr<UnreadOutput::Account> account,
                       std::function<void(const absl::Status&)> done)
    : head_(std::move(head)), result_(result), account_(std::move(account)), done_(std::move(done)) {
  *result_->mutable_start() = head_.start;
  for (int i = 0; i < choices; ++i) {
    v1::Chunk* choice = result_->add_choices();
    choice->set_choice(i);
    choice->set_text(head_.echo);
  }
  Charge(MemoryOf(*result_));
}

bool GatherSink::Charge(size_t bytes) {
  if (too_large_ || (account_ != nullptr && !account_->Add(bytes))) {
    too_large_ = true;
    result_->Clear();
  }
  return !too_large_;
}

GatherSink::~GatherSink() {
  if (done_) done_(Dropped());
}

void GatherSink::OnStart(OutputStart start) {
  if (too_large_) return;  // the first piece tells the scheduler
  Fill(start, head_.token_bytes, result_->mutable_start());
  Charge(MemoryOf(result_->start()));
}

bool GatherSink::OnPiece(OutputPiece piece) {
  const int index = piece.choice;
  v1::Chunk more = ChunkOf(std::move(piece), head_);
  // Merging appends lists, but would replace texts, and a call may go on.
  const std::string text = std::exchange(*more.mutable_text(), "");
  const std::string reasoning = std::exchange(*more.mutable_reasoning(), "");
  // A text that grows is up to half empty.
  if (!Charge(MemoryOf(more) + 2 * (text.size() + reasoning.size()))) return false;
  v1::Chunk* choice = result_->mutable_choices(index);
  choice->mutable_text()->append(text);
  if (!reasoning.empty()) choice->mutable_reasoning()->append(reasoning);
  Merge(more.tool_calls(), choice->mutable_tool_calls());
  more.clear_tool_calls();
  choice->MergeFrom(more);
  return true;
}

void GatherSink::OnDone(absl::Status status, const Usage& usage) {
  if (too_large_) return std::exchange(done_, nullptr)(account_->TooLarge());
  *result_->mutable_usage() = ToProto(usage);
  for (const AdapterRouting& routing : usage.routing) *result_->add_routing() = ToProto(routing);
  std::exchange(done_, nullptr)(status);
}

}  // namespace hydrad
