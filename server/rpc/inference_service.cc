#include "server/rpc/inference_service.h"

#include <functional>
#include <type_traits>
#include <utility>

#include "hydrad/v1/inference.grpc.pb.h"
#include "server/base/status_macros.h"
#include "server/front/answers.h"
#include "server/rpc/context_caller.h"
#include "server/rpc/from_proto.h"
#include "server/rpc/incoming.h"
#include "server/rpc/output_sinks.h"
#include "server/rpc/reactors.h"
#include "server/rpc/to_proto.h"

namespace hydrad {
namespace {

// A call with its message, unread.
struct UnreadCall : EnteredCall {
  grpc::ByteBuffer bytes{};
};

class InferenceService final : public UnreadService<v1::Inference> {
 public:
  InferenceService(Intake& intake, std::string base_model, UnreadOutput& unread, TextPool& texts)
      : intake_(intake),
        rooms_(intake.rooms()),
        base_model_(std::move(base_model)),
        unread_(unread),
        texts_(texts) {
    SetGenerate<v1::GenerateRequest>("Generate", "GenerateUnary");
    SetGenerate<v1::ChatRequest>("Chat", "ChatUnary");
    SetAnswer<v1::TokenizeRequest, v1::TokenizeResponse>("Tokenize", &InferenceService::OnTokenize);
    SetAnswer<v1::DetokenizeRequest, v1::DetokenizeResponse>("Detokenize", &InferenceService::OnDetokenize);
    SetAnswer<v1::ListModelsRequest, v1::ListModelsResponse>("ListModels", &InferenceService::OnListModels);
  }

 private:
  // Two methods that make a request of a message, answered by a stream and at once.
  template <class Message>
  void SetGenerate(const char* streamed, const char* unary) {
    SetStream<Message, v1::GenerateResponse>(
        streamed, [this](auto* context, auto* message) { return this->OnGenerate(*context, *message); });
    SetUnary<Message, v1::GenerateResult>(unary, [this](auto* context, auto* message, auto* result) {
      return this->OnGenerateUnary(*context, *message, result);
    });
  }

  template <class Message>
  grpc::ServerWriteReactor<v1::GenerateResponse>* OnGenerate(grpc::CallbackServerContext& context,
                                                             const Incoming<Message>& incoming) {
    auto* writer = new QueueWriter<v1::GenerateResponse>;  // deletes itself
    UnreadCall call = CallOf(context);
    absl::StatusOr<Ticket> ticket = intake_.Enter(call.caller);
    if (!ticket.ok()) {
      writer->queue()->Close(ticket.status());
      return writer;
    }
    Begin(context, incoming, *std::move(ticket), *writer, &call);
    BeginRequest<Message>(
        call,
        [queue = writer->queue()](OutputHead head, int) {
          return std::make_shared<StreamSink>(std::move(head), queue);
        },
        [queue = writer->queue()](const absl::Status& refused) { queue->Close(refused); });
    return writer;
  }

  template <class Message>
  grpc::ServerUnaryReactor* OnGenerateUnary(grpc::CallbackServerContext& context,
                                            const Incoming<Message>& incoming, v1::GenerateResult* result) {
    auto* reply = new LaterReply;  // deletes itself
    UnreadCall call = CallOf(context);
    absl::StatusOr<Ticket> ticket = intake_.Enter(call.caller);
    if (!ticket.ok()) {
      reply->Answer(ticket.status());
      return reply;
    }
    Begin(context, incoming, *std::move(ticket), *reply, &call);
    BeginRequest<Message>(
        call,
        [reply, result](OutputHead head, int choices) {
          return std::make_shared<GatherSink>(
              std::move(head), choices, result, reply->account(),
              [reply, result](const absl::Status& done) { reply->Answer(done, result, /*charged=*/true); });
        },
        [reply](const absl::Status& refused) { reply->Answer(refused); });
    return reply;
  }

  UnreadCall CallOf(const grpc::CallbackServerContext& context) const {
    UnreadCall call;
    call.caller = CallerOf(context, rooms_.clock);
    return call;
  }

  // The call's reactor is told whom it belongs to.
  template <class Message, class Reactor>
  void Begin(grpc::CallbackServerContext& context, const Incoming<Message>& incoming, Ticket ticket,
             Reactor& reactor, UnreadCall* call) {
    call->asker = {ticket.tenant(), ticket.weight(), ticket.cache_group()};
    reactor.set_ticket(std::move(ticket));
    Begin(context, incoming, reactor, call);
  }
  template <class Message, class Reactor>
  void Begin(grpc::CallbackServerContext& context, const Incoming<Message>& incoming, Reactor& reactor,
             UnreadCall* call) {
    call->bytes = incoming.Take();
    reactor.Charge(context, unread_, call->asker.tenant);
    reactor.set_on_cancel([this, cancel = call->cancel, deadline = call->caller.deadline] {
      cancel->Cancel(CancelStatus(deadline, rooms_.clock));
    });
  }

  // Reads the message and starts the request, now or on a thread for long texts. Either `make_sink` gives
  // what is told of its end, or `refuse` is called with why there is no request.
  using MakeSink = std::function<std::shared_ptr<TokenSink>(OutputHead head, int choices)>;
  template <class Message>
  void BeginRequest(const UnreadCall& call, MakeSink make_sink,
                    std::function<void(const absl::Status&)> refuse) {
    constexpr bool kLong = std::is_same_v<Message, v1::ChatRequest>;  // a template takes what it takes
    intake_.Work(
        texts_, call, call.bytes.Length(),
        [this, call, make_sink = std::move(make_sink), refuse = std::move(refuse)](absl::Status status) {
          if (!status.ok()) return refuse(status);
          Message message;
          if (const absl::Status parsed = ParseMessage(call.bytes, &message); !parsed.ok())
            return refuse(intake_.Invalid(parsed, call.caller));
          StartSomewhere(call, FromProto(std::move(message)), /*here=*/kLong, make_sink, refuse);
        },
        kLong);
  }
  // Here, or on a thread for long texts if it is not on one of those yet.
  void StartSomewhere(const UnreadCall& call, GenerateCall message, bool here, const MakeSink& make_sink,
                      const std::function<void(const absl::Status&)>& refuse) {
    const bool stays = here || call.bytes.Length() > Intake::kShortMessage || !TakesLong(message);
    auto start = [this, call, message = std::make_shared<GenerateCall>(std::move(message)), make_sink,
                  refuse](absl::Status status) {
      if (status.ok()) status = Start(call, std::move(*message), make_sink);
      if (!status.ok()) refuse(status);
    };
    if (stays) return start(absl::OkStatus());
    intake_.Work(texts_, call, call.bytes.Length(), std::move(start), /*long_work=*/true);
  }
  absl::Status Start(const UnreadCall& call, GenerateCall message, const MakeSink& make_sink) {
    return intake_.Start(call, std::move(message), [&](AnswerHead head) {
      return make_sink(
          {.start = ToProto(head, base_model_),
           .echo = std::move(head.echo),
           .token_ids = head.token_ids,
           .answer = head.answer ? std::optional(AnswerReader(*head.answer, head.choices)) : std::nullopt,
           .token_bytes =
               [own = head.tokens, &base = rooms_.tokenizer](int32_t token) {
                 return (own == nullptr ? base : *own->tokenizer).TokenBytes(token);
               }},
          head.choices);
    });
  }

  absl::Status OnTokenize(const std::string& tenant, v1::TokenizeRequest message,
                          v1::TokenizeResponse* out) const {
    ASSIGN_OR_RETURN(Tokenized tokenized, hydrad::Tokenize(rooms_, tenant, FromProto(std::move(message))));
    out->mutable_token_ids()->Add(tokenized.ids.begin(), tokenized.ids.end());
    for (std::string& token : tokenized.tokens) out->add_tokens(std::move(token));
    return absl::OkStatus();
  }

  absl::Status OnDetokenize(const std::string& tenant, v1::DetokenizeRequest message,
                            v1::DetokenizeResponse* out) const {
    ASSIGN_OR_RETURN(std::string text, hydrad::Detokenize(rooms_, tenant, FromProto(message)));
    out->set_text(std::move(text));
    return absl::OkStatus();
  }

  absl::Status OnListModels(const std::string& tenant, v1::ListModelsRequest,
                            v1::ListModelsResponse* out) const {
    out->set_base_model(base_model_);
    for (ServedModel& served : ModelsFor(rooms_, tenant)) {
      auto* model = out->add_models();
      model->set_name(std::move(served.name));
      model->set_generation(served.generation);
      model->set_chat(served.chat);
    }
    return absl::OkStatus();
  }

  template <class Message, class Response>
  using Fill = absl::Status (InferenceService::*)(const std::string& tenant, Message, Response*) const;

  // A method that needs no scheduler: `fill` returns what is wrong with the message.
  template <class Message, class Response>
  void SetAnswer(const char* name, Fill<Message, Response> fill) {
    SetUnary<Message, Response>(name, [this, fill](auto* context, auto* incoming, auto* out) {
      auto* reply = new LaterReply;  // deletes itself
      UnreadCall call = CallOf(*context);
      const absl::StatusOr<std::string> tenant = intake_.EnterCall(call.caller);
      if (!tenant.ok()) {
        reply->Answer(tenant.status());
        return reply;
      }
      call.asker.tenant = *tenant;
      Begin(*context, *incoming, *reply, &call);
      constexpr bool kLong = std::is_same_v<Message, v1::ListModelsRequest>;  // there may be thousands
      intake_.Work(
          texts_, call, call.bytes.Length(),
          [this, call, reply, fill, out](absl::Status status) {
            if (status.ok()) status = Answer<Message, Response>(call, fill, out);
            reply->Answer(status, out);
          },
          kLong);
      return reply;
    });
  }
  template <class Message, class Response>
  absl::Status Answer(const UnreadCall& call, Fill<Message, Response> fill, Response* out) {
    Message message;
    absl::Status status = ParseMessage(call.bytes, &message);
    if (status.ok()) status = (this->*fill)(call.asker.tenant, std::move(message), out);
    return status.ok() ? status : intake_.Invalid(status, call.caller);
  }

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
