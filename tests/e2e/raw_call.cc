#include "tests/e2e/raw_call.h"

#include <grpcpp/generic/generic_stub.h>

namespace hydrad {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr milliseconds kHangs{60'000}, kMoment{20};

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.TrySingleSlice(&slice).ok() && !buffer.DumpToSingleSlice(&slice).ok()) return "";
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

// The events of one call, which has one operation in flight at a time.
class Events {
 public:
  enum class Event { kDone, kFailed, kNone };

  ~Events() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) continue;
  }
  grpc::CompletionQueue* queue() { return &queue_; }
  Event Await(milliseconds limit) {
    void* tag;
    bool ok;
    const auto next = queue_.AsyncNext(&tag, &ok, system_clock::now() + limit);
    if (next != grpc::CompletionQueue::GOT_EVENT) return Event::kNone;
    return ok ? Event::kDone : Event::kFailed;
  }

 private:
  grpc::CompletionQueue queue_;
};

}  // namespace

std::optional<RawReply> Make(const std::shared_ptr<grpc::Channel>& channel, const RawCall& call) {
  using Event = Events::Event;
  grpc::ClientContext context;
  if (call.deadline) context.set_deadline(system_clock::now() + *call.deadline);
  for (const auto& [key, value] : call.metadata) context.AddMetadata(key, value);
  grpc::GenericStub stub(channel);
  RawReply reply;
  grpc::ByteBuffer message;
  Events events;
  const auto stream = stub.PrepareCall(&context, call.method, events.queue());
  const milliseconds limit = kHangs + call.deadline.value_or(milliseconds(0));
  const auto cancel = [&] {
    context.TryCancel();
    reply.cancelled = true;
  };
  // Events and messages until the other end has no more.
  const auto end = [&]() -> bool {
    stream->StartCall(nullptr);
    if (const Event began = events.Await(limit); began != Event::kDone) return began == Event::kFailed;
    if (call.cancel_after == 0) cancel();
    stream->WriteLast(BufferOf(call.request), grpc::WriteOptions(), nullptr);
    if (events.Await(limit) == Event::kNone) return false;
    for (;;) {
      stream->Read(&message, nullptr);
      Event read = events.Await(call.endless ? kMoment : limit);
      if (read == Event::kNone && call.endless) {
        cancel();
        read = events.Await(limit);
      }
      if (read != Event::kDone) return read == Event::kFailed;
      reply.messages.push_back(BytesOf(message));
      if (static_cast<int>(reply.messages.size()) == call.cancel_after) cancel();
    }
  };
  bool ended = end();
  if (ended) {
    stream->Finish(&reply.status, nullptr);
    ended = events.Await(limit) != Event::kNone;
  }
  if (ended) return reply;
  context.TryCancel();
  return std::nullopt;
}

}  // namespace hydrad
