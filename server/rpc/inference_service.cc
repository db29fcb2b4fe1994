#include "server/rpc/inference_service.h"

#include <functional>
#include <type_traits>
#include <utility>

#include "hydrad/v1/inference.grpc.pb.h"
#include "server/front/cancel_point.h"
#include "server/rpc/caller.h"
#include "server/rpc/incoming.h"
#include "server/rpc/output_sinks.h"
#include "server/rpc/reactors.h"
#include "server/rpc/wire.h"
#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {
namespace {

OutputHead HeadOf(Prepared& prepared, const v1::GenerateRequest& message, const std::string& base_model,
                  const Tokenizer& tokenizer) {
  OutputHead head;
  head.token_bytes = [&tokenizer](int32_t token) { return tokenizer.TokenBytes(token); };
  head.start.set_model(base_model);
  head.start.set_prompt_tokens(static_cast<int>(prepared.request.prompt.size()));
  head.start.set_adapter(message.adapter());
  for (int i = 0; i < message.adapters_size(); ++i) {
    v1::UsedAdapter* used = head.start.add_adapters();
    used->set_name(message.adapters(i).name());
    used->set_weight(prepared.request.weight_at(static_cast<size_t>(i)));
  }
  head.start.set_request_id(prepared.name);
  head.echo = std::move(prepared.echo);
  head.token_ids = message.output().token_ids();
  return head;
}

class InferenceService final : public UnreadService<v1::Inference> {
 public:
  InferenceService(Intake& intake, std::string base_model, UnreadOutput& unread, TextPool& texts)
      : intake_(intake),
        rooms_(intake.rooms()),
        base_model_(std::move(base_model)),
        unread_(unread),
        texts_(texts) {
    SetStream<v1::GenerateRequest, v1::GenerateResponse>(
        "Generate", [this](auto* context, auto* message) { return OnGenerate(*context, *message); });
    SetUnary<v1::GenerateRequest, v1::GenerateResult>("GenerateUnary",
                                                      [this](auto* context, auto* message, auto* result) {
                                                        return OnGenerateUnary(*context, *message, result);
                                                      });
    SetAnswer<v1::TokenizeRequest, v1::TokenizeResponse>("Tokenize", &InferenceService::OnTokenize);
    SetAnswer<v1::DetokenizeRequest, v1::DetokenizeResponse>("Detokenize", &InferenceService::OnDetokenize);
    SetAnswer<v1::ListModelsRequest, v1::ListModelsResponse>("ListModels", &InferenceService::OnListModels);
  }

 private:
  // A call that was let in, as it goes from thread to thread.
  struct Call {
    Caller caller;
    Asker asker;
    std::shared_ptr<CancelPoint> cancel = std::make_shared<CancelPoint>();
    grpc::ByteBuffer bytes{};  // its message
  };
  using MakeSink = std::function<std::shared_ptr<TokenSink>(OutputHead head, int choices)>;

  grpc::ServerWriteReactor<v1::GenerateResponse>* OnGenerate(grpc::CallbackServerContext& context,
                                                             const Incoming<v1::GenerateRequest>& incoming) {
    auto* writer = new QueueWriter<v1::GenerateResponse>;  // deletes itself
    Call call{.caller = CallerOf(context, rooms_.clock), .asker = {}};
    absl::StatusOr<Ticket> ticket = intake_.Enter(call.caller);
    if (!ticket.ok()) {
      writer->queue()->Close(ticket.status());
      return writer;
    }
    Begin(context, incoming, *std::move(ticket), *writer, &call);
    Work(call, [this, call, queue = writer->queue()](absl::Status status) {
      if (status.ok()) {
        status = Start(call, [queue](OutputHead head, int) {
          return std::make_shared<StreamSink>(std::move(head), queue);
        });
      }
      if (!status.ok()) queue->Close(status);
    });
    return writer;
  }

  grpc::ServerUnaryReactor* OnGenerateUnary(grpc::CallbackServerContext& context,
                                            const Incoming<v1::GenerateRequest>& incoming,
                                            v1::GenerateResult* result) {
    auto* reply = new LaterReply;  // deletes itself
    Call call{.caller = CallerOf(context, rooms_.clock), .asker = {}};
    absl::StatusOr<Ticket> ticket = intake_.Enter(call.caller);
    if (!ticket.ok()) {
      reply->Answer(ticket.status());
      return reply;
    }
    Begin(context, incoming, *std::move(ticket), *reply, &call);
    Work(call, [this, call, reply, result](absl::Status status) {
      if (status.ok()) {
        status = Start(call, [reply, result](OutputHead head, int choices) {
          return std::make_shared<GatherSink>(
              std::move(head), choices, result, reply->account(),
              [reply, result](const absl::Status& done) { reply->Answer(done, result, /*charged=*/true); });
        });
      }
      if (!status.ok()) reply->Answer(status);
    });
    return reply;
  }

  // The call's reactor is told whom it belongs to.
  template <class Message, class Reactor>
  void Begin(grpc::CallbackServerContext& context, const Incoming<Message>& incoming, Ticket ticket,
             Reactor& reactor, Call* call) {
    call->asker = {ticket.tenant(), ticket.weight()};
    reactor.set_ticket(std::move(ticket));
    Begin(context, incoming, reactor, call);
  }
  template <class Message, class Reactor>
  void Begin(grpc::CallbackServerContext& context, const Incoming<Message>& incoming, Reactor& reactor,
             Call* call) {
    call->bytes = incoming.Take();
    reactor.Charge(context, unread_, call->asker.tenant);
    reactor.set_on_cancel([this, cancel = call->cancel, deadline = call->caller.deadline] {
      cancel->Cancel(CancelStatus(deadline, rooms_.clock));
    });
  }

  // Does the work, unless it has become pointless: here if the message is short, else on the pool.
  void Work(const Call& call, std::function<void(absl::Status)> work, bool may_be_long = false) {
    if (call.bytes.Length() <= kShortMessage && !may_be_long) return work(absl::OkStatus());
    const absl::Status taken =
        texts_.Submit(call.asker.tenant, {.bytes = call.bytes.Length(),
                                          .wanted =
                                              [this, cancel = call.cancel, deadline = call.caller.deadline] {
                                                if (deadline && rooms_.clock.Now() >= *deadline)
                                                  return CancelStatus(deadline, rooms_.clock);
                                                return cancel->status();
                                              },
                                          .run = work});
    if (!taken.ok()) work(intake_.TextsFull(taken));
  }

  // Hands the request on. After an OK its sink is told of its end.
  absl::Status Start(const Call& call, const MakeSink& make_sink) {
    v1::GenerateRequest message;
    if (const absl::Status parsed = ParseMessage(call.bytes, &message); !parsed.ok())
      return intake_.Invalid(parsed);
    ASSIGN_OR_RETURN(Prepared prepared, intake_.Prepare(message, call.caller, call.asker));
    const RequestId id = prepared.request.id;
    const std::shared_ptr<TokenSink> sink =
        make_sink(HeadOf(prepared, message, base_model_, rooms_.tokenizer), prepared.request.n);
    prepared.request.sink = rooms_.delivery.To(sink);
    const absl::Status submitted = intake_.Submit(std::move(prepared.request));
    if (!submitted.ok()) {
      sink->OnDone(submitted, {});
    } else {
      call.cancel->Bind([this, id](const absl::Status& why) { rooms_.scheduler.cancel(id, why); });
    }
    return absl::OkStatus();
  }

  absl::Status OnTokenize(const std::string&, const v1::TokenizeRequest& message,
                          v1::TokenizeResponse* out) const {
    RETURN_IF_ERROR(Validate(message, rooms_.limits));
    const std::vector<int32_t> ids =
        rooms_.tokenizer.Encode(message.text(), !message.no_special(), message.parse_special());
    out->mutable_token_ids()->Add(ids.begin(), ids.end());
    for (const int32_t id : ids) {
      std::string bytes = rooms_.tokenizer.TokenBytes(id);
      out->add_tokens(IsUtf8(bytes) ? std::move(bytes) : "\uFFFD");
    }
    return absl::OkStatus();
  }

  absl::Status OnDetokenize(const std::string&, const v1::DetokenizeRequest& message,
                            v1::DetokenizeResponse* out) const {
    RETURN_IF_ERROR(Validate(message, rooms_.limits));
    const std::vector<int32_t> ids(message.token_ids().begin(), message.token_ids().end());
    out->set_text(rooms_.tokenizer.Decode(ids, !message.keep_special_tokens()));
    return absl::OkStatus();
  }

  absl::Status OnListModels(const std::string& tenant, const v1::ListModelsRequest&,
                            v1::ListModelsResponse* out) const {
    out->set_base_model(base_model_);
    if (rooms_.admission.Allowed(tenant, "")) out->add_models();
    for (const AdapterInfo& info : rooms_.adapters.List()) {
      if (info.state != AdapterState::kAvailable || !rooms_.admission.Allowed(tenant, info.name)) continue;
      auto* model = out->add_models();
      model->set_name(info.name);
      model->set_generation(info.generation);
    }
    return absl::OkStatus();
  }

  template <class Message, class Response>
  using Fill = absl::Status (InferenceService::*)(const std::string& tenant, const Message&, Response*) const;

  // A method that needs no scheduler: `fill` returns what is wrong with the message.
  template <class Message, class Response>
  void SetAnswer(const char* name, Fill<Message, Response> fill) {
    SetUnary<Message, Response>(name, [this, fill](auto* context, auto* incoming, auto* out) {
      auto* reply = new LaterReply;  // deletes itself
      Call call{.caller = CallerOf(*context, rooms_.clock), .asker = {}};
      const absl::StatusOr<std::string> tenant = intake_.EnterCall(call.caller);
      if (!tenant.ok()) {
        reply->Answer(tenant.status());
        return reply;
      }
      call.asker.tenant = *tenant;
      Begin(*context, *incoming, *reply, &call);
      constexpr bool kLong = std::is_same_v<Message, v1::ListModelsRequest>;  // there may be thousands
      Work(
          call,
          [this, call, reply, fill, out](absl::Status status) {
            if (status.ok()) status = Answer<Message, Response>(call, fill, out);
            reply->Answer(status, out);
          },
          kLong);
      return reply;
    });
  }
  template <class Message, class Response>
  absl::Status Answer(const Call& call, Fill<Message, Response> fill, Response* out) {
    Message message;
    absl::Status status = ParseMessage(call.bytes, &message);
    if (status.ok()) status = (this->*fill)(call.asker.tenant, message, out);
    return status.ok() ? status : intake_.Invalid(status);
  }

  // Messages up to this size are dealt with on gRPC's threads: the worst take less than a millisecond.
  static constexpr size_t kShortMessage = 2048;

  Intake& intake_;
  const Rooms& rooms_;
  const std::string base_model_;
  UnreadOutput& unread_;
  TextPool& texts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(Intake& intake, std::string base_model,
                                                    UnreadOutput& unread, TextPool& texts) {
  return std::make_unique<InferenceService>(intake, std::move(base_model), unread, texts);
}

}  // namespace hydrad
