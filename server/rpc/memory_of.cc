#include "server/rpc/memory_of.h"

namespace hydrad::v1 {
namespace {

constexpr size_t kAllocation = 16;  // what the allocator adds to a piece of memory, at most on average

size_t Heap(size_t bytes) { return bytes == 0 ? 0 : bytes + kAllocation; }

// A string field: the object, which is allocated once it is set, and its characters.
size_t OfString(const std::string& text) {
  if (text.empty()) return 0;
  return Heap(sizeof text) + (text.capacity() < sizeof text ? 0 : Heap(text.capacity() + 1));
}

// A list of messages: a pointer for each, of which there may be twice as many as are used.
size_t OfList(int size) { return Heap(2 * static_cast<size_t>(size) * sizeof(void*)); }

size_t OfToken(const TokenLogprob& token) { return Heap(sizeof token) + OfString(token.bytes()); }

template <class List>
size_t OfLogprobs(const List& logprobs) {
  size_t bytes = OfList(logprobs.size());
  for (const Logprob& logprob : logprobs) {
    bytes += Heap(sizeof logprob) + OfToken(logprob.token()) + OfList(logprob.top_size());
    for (const TokenLogprob& top : logprob.top()) bytes += OfToken(top);
  }
  return bytes;
}

}  // namespace

size_t MemoryOf(const google::protobuf::Message& message) {
  const size_t bytes = message.SpaceUsedLong();
  return bytes + bytes / 2 + kAllocation;
}

size_t MemoryOf(const Start& start) {
  size_t bytes = Heap(sizeof start) + OfString(start.adapter()) + OfString(start.request_id()) +
                 OfString(start.model()) + OfLogprobs(start.prompt_logprobs()) +
                 OfList(start.adapters_size());
  for (const UsedAdapter& adapter : start.adapters()) bytes += MemoryOf(adapter);
  return bytes + (start.has_route() ? MemoryOf(start.route()) : 0);
}

size_t MemoryOf(const Chunk& chunk) {
  size_t bytes = Heap(sizeof chunk) + OfString(chunk.text()) + OfString(chunk.stop()) +
                 OfString(chunk.reasoning()) +
                 Heap(2 * sizeof(int32_t) * static_cast<size_t>(chunk.token_ids_size())) +
                 OfLogprobs(chunk.logprobs()) + OfList(chunk.tool_calls_size());
  for (const CalledTool& call : chunk.tool_calls())
    bytes += Heap(sizeof call) + OfString(call.id()) + OfString(call.name()) + OfString(call.arguments());
  return bytes;
}

size_t MemoryOf(const GenerateResponse& message) {
  const size_t bytes = Heap(sizeof message);
  switch (message.event_case()) {
    case GenerateResponse::kStart:
      return bytes + MemoryOf(message.start());
    case GenerateResponse::kChunk:
      return bytes + MemoryOf(message.chunk());
    case GenerateResponse::kEnd:
      return bytes + MemoryOf(message.end());
    case GenerateResponse::EVENT_NOT_SET:
      return bytes;
  }
  return bytes;
}

}  // namespace hydrad::v1
