#include "server/rpc/admin_service.h"

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "hydrad/v1/admin.grpc.pb.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/adapter_admin.h"
#include "server/rpc/adapter_feed.h"
#include "server/rpc/context_caller.h"
#include "server/rpc/from_proto.h"
#include "server/rpc/incoming.h"
#include "server/rpc/reactors.h"
#include "server/rpc/server_status.h"
#include "server/rpc/to_proto.h"

namespace hydrad {
namespace {

// To whom what administrators do not read is charged.
constexpr char kAdministrators[] = "admin";

class AdminService final : public UnreadService<v1::Admin> {
 public:
  AdminService(Intake& intake, const AdapterAdmin& adapters, ServerFacts facts, UnreadOutput& unread)
      : intake_(intake),
        rooms_(intake.rooms()),
        adapters_(adapters),
        facts_(std::move(facts)),
        unread_(unread) {
    SetChange<v1::LoadAdapterRequest, v1::Adapter>("LoadAdapter", &AdapterAdmin::Load);
    SetChange<v1::UnloadAdapterRequest, v1::Adapter>("UnloadAdapter", &AdapterAdmin::Unload);
    SetChange<v1::PinAdapterRequest, v1::Adapter>("PinAdapter", &AdapterAdmin::Pin);
    SetChange<v1::UnpinAdapterRequest, v1::Adapter>("UnpinAdapter", &AdapterAdmin::Pin);
    SetChange<v1::ApplyAdaptersRequest, v1::ApplyAdaptersResponse>("ApplyAdapters", &AdapterAdmin::Apply);
    SetAnswer<v1::GetAdapterRequest, v1::Adapter>("GetAdapter", [this](const auto& message, auto* out) {
      return Fill(adapters_.Get(FromProto(message)), out);
    });
    SetAnswer<v1::ListAdaptersRequest, v1::ListAdaptersResponse>(
        "ListAdapters",
        [this](const auto& message, auto* out) { return Fill(adapters_.List(FromProto(message)), out); });
    SetAnswer<v1::GetServerStatusRequest, v1::ServerStatus>("GetServerStatus",
                                                            [this](const auto&, auto* out) {
                                                              *out = ServerStatusOf(intake_, facts_);
                                                              return absl::OkStatus();
                                                            });
    SetStream<v1::WatchAdaptersRequest, v1::AdapterEvent>(
        "WatchAdapters",
        [this](auto* context, auto* message) { return OnWatchAdapters(*context, *message); });
  }

 private:
  template <class Value, class Response>
  static absl::Status Fill(const absl::StatusOr<Value>& value, Response* out) {
    if (value.ok()) *out = ToProto(*value);
    return value.status();
  }

  // What an administrator sends.
  template <class Message>
  absl::StatusOr<Message> Open(const grpc::CallbackServerContext& context,
                               const Incoming<Message>& incoming) const {
    RETURN_IF_ERROR(adapters_.Enter(CallerOf(context, rooms_.clock)));
    return incoming.Parse();
  }
  // Without a message the call has been answered.
  template <class Message>
  std::optional<Message> Open(grpc::CallbackServerContext& context, const Incoming<Message>& incoming,
                              LaterReply& reply) const {
    absl::StatusOr<Message> message = Open(context, incoming);
    if (message.ok()) {
      reply.Charge(context, unread_, kAdministrators);
      return *std::move(message);
    }
    reply.Answer(message.status());
    return std::nullopt;
  }

  // A method that is answered at once, with what `answer` fills in or returns.
  template <class Message, class Response>
  void SetAnswer(const char* name, std::function<absl::Status(const Message&, Response*)> answer) {
    SetUnary<Message, Response>(name, [this, answer](auto* context, auto* incoming, Response* out) {
      auto* reply = new LaterReply;  // deletes itself
      if (const auto message = this->Open(*context, *incoming, *reply))
        reply->Answer(answer(*message, out), out);
      return reply;
    });
  }

  // A method that changes adapters. It is answered when the change is made, unless the client has gone, which
  // does not undo the change; by then this may be gone too.
  template <class Message, class Response, class Call, class Value>
  void SetChange(const char* name, void (AdapterAdmin::*change)(const Call&, const std::string& peer,
                                                                const AdminDone<Value>&)) {
    SetUnary<Message, Response>(name, [this, change](auto* context, auto* incoming, Response* out) {
      auto* reply = new LaterReply;  // deletes itself
      const auto message = Open(*context, *incoming, *reply);
      if (!message) return reply;
      auto first = std::make_shared<FirstReply>(reply);
      reply->set_on_cancel(
          [first] { first->Finish(Cancelled("the client cancelled the call; the change goes on")); });
      (adapters_.*change)(FromProto(*message), context->peer(),
                          [first, out](const absl::StatusOr<Value>& value) {
                            first->Finish(value.status(), [&] {
                              if (value.ok()) *out = ToProto(*value);
                              return out;
                            });
                          });
      return reply;
    });
  }

  grpc::ServerWriteReactor<v1::AdapterEvent>* OnWatchAdapters(
      grpc::CallbackServerContext& context, const Incoming<v1::WatchAdaptersRequest>& incoming) {
    auto* writer = new QueueWriter<v1::AdapterEvent>;  // deletes itself
    const auto message = Open(context, incoming);
    if (!message.ok()) {
      writer->queue()->Close(message.status());
      return writer;
    }
    writer->Charge(context, unread_, kAdministrators);
    writer->StartSendInitialMetadata();  // tells the client that it watches, also while there is nothing to
                                         // tell
    auto feed = std::make_shared<AdapterFeed>(writer->queue());
    const uint64_t token =
        rooms_.adapters.AddWatcher([feed](const AdapterEvent& event) { feed->Event(event); });
    writer->set_on_cancel(
        [queue = writer->queue()] { queue->Close(Cancelled("the client cancelled the call")); });
    writer->set_on_done([this, token] { rooms_.adapters.RemoveWatcher(token); });
    feed->Begin(rooms_.adapters.List());
    return writer;
  }

  Intake& intake_;
  const Rooms& rooms_;
  AdapterAdmin adapters_;
  const ServerFacts facts_;
  UnreadOutput& unread_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(Intake& intake, const AdapterAdmin& adapters,
                                                ServerFacts facts, UnreadOutput& unread) {
  return std::make_unique<AdminService>(intake, adapters, std::move(facts), unread);
}

}  // namespace hydrad
