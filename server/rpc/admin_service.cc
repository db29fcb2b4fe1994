#include "server/rpc/admin_service.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "hydrad/v1/admin.grpc.pb.h"
#include "server/front/error_details.h"
#include "server/rpc/adapter_feed.h"
#include "server/rpc/adapter_page.h"
#include "server/rpc/caller.h"
#include "server/rpc/incoming.h"
#include "server/rpc/reactors.h"
#include "server/rpc/wire.h"

namespace hydrad {
namespace {

// To whom what administrators do not read is charged.
constexpr char kAdministrators[] = "admin";

// What the store's errors mean to a client.
absl::Status Explain(const absl::Status& status, const std::string& name) {
  const std::map<std::string, std::string> metadata = {{"adapter", name}};
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return status;
    case absl::StatusCode::kNotFound:
      return WithReason(status, "ADAPTER_NOT_FOUND", metadata);
    case absl::StatusCode::kInvalidArgument:
      return WithReason(status, "ADAPTER_INVALID", metadata);
    case absl::StatusCode::kResourceExhausted:
      return WithReason(status, "NO_ROOM", metadata);
    case absl::StatusCode::kUnavailable:
      return WithRetry(WithReason(status, "ADAPTER_NOT_READY", metadata), std::chrono::seconds(1));
    case absl::StatusCode::kAborted:
      return WithRetry(WithReason(status, "ADAPTER_BUSY", metadata), std::chrono::seconds(1));
    default:
      return WithReason(status, absl::StatusCodeToString(status.code()), metadata);
  }
}

std::vector<WantedAdapter> WantedOf(const v1::ApplyAdaptersRequest& message) {
  std::vector<WantedAdapter> wanted;
  for (const v1::WantedAdapter& w : message.adapters()) {
    wanted.push_back({w.name(), w.path(), w.etag(), w.pinned(), w.lenient()});
  }
  return wanted;
}

class AdminService final : public UnreadService<v1::Admin> {
 public:
  AdminService(Intake& intake, const Admission& admins, ServerFacts facts, UnreadOutput& unread)
      : intake_(intake), rooms_(intake.rooms()), admins_(admins), facts_(std::move(facts)), unread_(unread) {
    Set("LoadAdapter", &AdminService::OnLoadAdapter);
    Set("UnloadAdapter", &AdminService::OnUnloadAdapter);
    Set("PinAdapter", &AdminService::OnPinAdapter);
    Set("UnpinAdapter", &AdminService::OnUnpinAdapter);
    Set("ApplyAdapters", &AdminService::OnApplyAdapters);
    Set("GetAdapter", &AdminService::OnGetAdapter);
    Set("ListAdapters", &AdminService::OnListAdapters);
    Set("GetServerStatus", &AdminService::OnGetServerStatus);
    SetStream<v1::WatchAdaptersRequest, v1::AdapterEvent>(
        "WatchAdapters",
        [this](auto* context, auto* message) { return OnWatchAdapters(*context, *message); });
  }

 private:
  template <class Message, class Response>
  using Method = grpc::ServerUnaryReactor* (AdminService::*)(grpc::CallbackServerContext&,
                                                             const Incoming<Message>&, Response*);
  template <class Message, class Response>
  void Set(const char* name, Method<Message, Response> method) {
    SetUnary<Message, Response>(name, [this, method](auto* context, auto* message, auto* out) {
      return (this->*method)(*context, *message, out);
    });
  }

  grpc::ServerUnaryReactor* OnLoadAdapter(grpc::CallbackServerContext& context,
                                          const Incoming<v1::LoadAdapterRequest>& incoming,
                                          v1::Adapter* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message || !AllowChange(*reply)) return reply;
    const std::string action = message->validate_only() ? "adapter.validate" : "adapter.load";
    const std::string path = rooms_.adapters.Locate(message->path()).value_or(message->path());
    AdapterStore::Done done = Later(context, *reply, action, message->name(), path, out);
    const ChangeOptions options{
        .digest = message->etag(), .request_id = message->request_id(), .lenient = message->lenient()};
    if (message->validate_only()) {
      rooms_.adapters.ValidateOnly(message->name(), path, std::move(done), options);
    } else {
      rooms_.adapters.Load(message->name(), path, std::move(done), options);
    }
    return reply;
  }

  grpc::ServerUnaryReactor* OnUnloadAdapter(grpc::CallbackServerContext& context,
                                            const Incoming<v1::UnloadAdapterRequest>& incoming,
                                            v1::Adapter* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message) return reply;
    rooms_.adapters.Unload(
        message->name(), Later(context, *reply, "adapter.unload", message->name(), std::string(), out),
        {.digest = message->etag(), .force = message->force(), .request_id = message->request_id()});
    return reply;
  }

  grpc::ServerUnaryReactor* OnPinAdapter(grpc::CallbackServerContext& context,
                                         const Incoming<v1::PinAdapterRequest>& incoming, v1::Adapter* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message) return reply;
    rooms_.adapters.Pin(message->name(), true,
                        Later(context, *reply, "adapter.pin", message->name(), std::string(), out),
                        {.request_id = message->request_id()});
    return reply;
  }

  grpc::ServerUnaryReactor* OnUnpinAdapter(grpc::CallbackServerContext& context,
                                           const Incoming<v1::UnpinAdapterRequest>& incoming,
                                           v1::Adapter* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message) return reply;
    rooms_.adapters.Pin(message->name(), false,
                        Later(context, *reply, "adapter.unpin", message->name(), std::string(), out),
                        {.request_id = message->request_id()});
    return reply;
  }

  grpc::ServerUnaryReactor* OnApplyAdapters(grpc::CallbackServerContext& context,
                                            const Incoming<v1::ApplyAdaptersRequest>& incoming,
                                            v1::ApplyAdaptersResponse* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message || !AllowChange(*reply)) return reply;
    auto first = std::make_shared<FirstReply>(reply);
    reply->set_on_cancel(
        [first] { first->Finish(Cancelled("the client cancelled the call; the change goes on")); });
    const std::string peer = context.peer();
    AdapterApplier::Options options{
        .validate_only = message->validate_only(),
        .force = message->force(),
        .request_id = message->request_id(),
        .on_change = [rooms = rooms_, peer](const char* action, const WantedAdapter& w,
                                            const absl::Status& status) {
          Audit(rooms, fmt::format("adapter.{}", action), peer, w.name, w.path, status);
        }};
    applier_.Apply(
        WantedOf(*message), std::move(options),
        [rooms = rooms_, first, out, peer](const absl::StatusOr<std::vector<AppliedChange>>& changes) {
          const absl::Status status = Explain(changes.status(), "");
          Audit(rooms, "adapter.apply", peer, "", "", status);
          first->Finish(status, [&] {
            if (changes.ok()) *out = ToProto(*changes);
            return out;
          });
        });
    return reply;
  }

  grpc::ServerUnaryReactor* OnGetAdapter(grpc::CallbackServerContext& context,
                                         const Incoming<v1::GetAdapterRequest>& incoming, v1::Adapter* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message) return reply;
    const absl::StatusOr<AdapterInfo> info = rooms_.adapters.Get(message->name());
    if (info.ok()) *out = ToProto(*info);
    reply->Answer(Explain(info.status(), message->name()), out);
    return reply;
  }

  grpc::ServerUnaryReactor* OnListAdapters(grpc::CallbackServerContext& context,
                                           const Incoming<v1::ListAdaptersRequest>& incoming,
                                           v1::ListAdaptersResponse* out) {
    auto* reply = new LaterReply;  // deletes itself
    const auto message = Open(context, incoming, *reply);
    if (!message) return reply;
    *out = PageOf(rooms_.adapters.List(), *message);
    reply->Answer(absl::OkStatus(), out);
    return reply;
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

  grpc::ServerUnaryReactor* OnGetServerStatus(grpc::CallbackServerContext& context,
                                              const Incoming<v1::GetServerStatusRequest>& incoming,
                                              v1::ServerStatus* out) {
    auto* reply = new LaterReply;  // deletes itself
    if (!Open(context, incoming, *reply)) return reply;
    FillStatus(out);
    reply->Answer(absl::OkStatus(), out);
    return reply;
  }

  absl::Status Authenticate(const grpc::CallbackServerContext& context) const {
    const Caller caller = CallerOf(context, rooms_.clock);
    absl::Status status = hydrad::Authenticate(admins_, caller).status();
    if (status.ok()) return status;
    rooms_.metrics.Rejected(AuthMetric(status));
    rooms_.audit.WriteRefusal({.action = "refused",
                               .actor = "admin",
                               .peer = caller.peer,
                               .adapter = "",
                               .path = "",
                               .status = status});
    return status;
  }

  static void Audit(const Rooms& rooms, std::string_view action, std::string_view peer, std::string_view name,
                    std::string_view path, const absl::Status& status) {
    rooms.audit.Write(
        {.action = action, .actor = "admin", .peer = peer, .adapter = name, .path = path, .status = status});
  }

  // What an administrator's call says, if it is valid.
  template <class Message>
  absl::StatusOr<Message> Open(const grpc::CallbackServerContext& context,
                               const Incoming<Message>& incoming) const {
    RETURN_IF_ERROR(Authenticate(context));
    ASSIGN_OR_RETURN(Message message, incoming.Parse());
    RETURN_IF_ERROR(Validate(message));
    return message;
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

  // Nothing new is loaded into a server that is about to go.
  bool AllowChange(LaterReply& reply) const {
    if (!intake_.closed()) return true;
    reply.Answer(WithReason(Unavailable("the server is draining"), "DRAINING"));
    return false;
  }

  // What the store calls when the change is made: writes the audit line and answers, unless the client has
  // gone, which does not undo the change.
  AdapterStore::Done Later(const grpc::CallbackServerContext& context, LaterReply& reply, std::string action,
                           std::string name, std::string path, v1::Adapter* out) {
    auto first = std::make_shared<FirstReply>(&reply);
    reply.set_on_cancel(
        [first] { first->Finish(Cancelled("the client cancelled the call; the change goes on")); });
    return [rooms = rooms_, first, peer = context.peer(), action = std::move(action), name = std::move(name),
            path = std::move(path), out](const absl::StatusOr<AdapterInfo>& info) {
      const absl::Status status = Explain(info.status(), name);
      Audit(rooms, action, peer, name, path, status);
      first->Finish(status, [&] {
        if (info.ok()) *out = ToProto(*info);
        return out;
      });
    };
  }

  void FillStatus(v1::ServerStatus* out) const {
    const SchedulerStatus status = rooms_.scheduler.status();
    out->set_version(facts_.version);
    out->set_base_model(facts_.base_model);
    out->set_device(facts_.device);
    out->set_weight_type(facts_.weight_type);
    *out->mutable_started() = ToProto(started_);
    out->set_requests_running(status.running);
    out->set_requests_waiting(status.waiting);
    out->set_kv_blocks_total(status.kv_blocks_total);
    out->set_kv_blocks_free(status.kv_blocks_free);
    out->set_adapter_bytes_used(rooms_.adapters.device_bytes_used());
    out->set_adapter_bytes_budget(rooms_.adapters.device_bytes_budget());
    out->set_adapter_host_bytes_used(rooms_.adapters.host_bytes_used());
    out->set_adapter_host_bytes_budget(rooms_.adapters.host_bytes_budget());
    out->set_adapters(static_cast<int>(rooms_.adapters.List().size()));
    out->set_draining(status.draining || intake_.closed());
    out->set_max_context(rooms_.limits.max_context);
  }

  Intake& intake_;
  const Rooms& rooms_;
  const Admission& admins_;
  const ServerFacts facts_;
  UnreadOutput& unread_;
  AdapterApplier applier_{rooms_.adapters};
  const std::chrono::system_clock::time_point started_ = std::chrono::system_clock::now();
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(Intake& intake, const Admission& admins, ServerFacts facts,
                                                UnreadOutput& unread) {
  return std::make_unique<AdminService>(intake, admins, std::move(facts), unread);
}

}  // namespace hydrad
