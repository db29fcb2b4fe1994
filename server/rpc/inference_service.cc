#include "server/rpc/inference_service.h"

#include <utility>

#include "proto/inference.grpc.pb.h"
#include "server/model/tokenizer/utf8.h"  // IsUtf8
#include "server/rpc/caller.h"
#include "server/rpc/incoming.h"
#include "server/rpc/output_sinks.h"
#include "server/rpc/reactors.h"
#include "server/rpc/wire.h"

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
  InferenceService(Intake& intake, std::string base_model, QueueBounds bounds)
      : intake_(intake), rooms_(intake.rooms()), base_model_(std::move(base_model)), bounds_(bounds) {
    SetStream<v1::GenerateRequest, v1::GenerateResponse>(
        "Generate", [this](auto* context, auto* message) { return Generate(*context, *message); });
    SetUnary<v1::GenerateRequest, v1::GenerateResult>("GenerateUnary",
                                                      [this](auto* context, auto* message, auto* result) {
                                                        return GenerateUnary(*context, *message, result);
                                                      });
    SetAnswer<v1::TokenizeRequest, v1::TokenizeResponse>("Tokenize", &InferenceService::Tokenize);
    SetAnswer<v1::DetokenizeRequest, v1::DetokenizeResponse>("Detokenize", &InferenceService::Detokenize);
    SetAnswer<v1::ListModelsRequest, v1::ListModelsResponse>("ListModels", &InferenceService::ListModels);
  }

 private:
  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(const grpc::CallbackServerContext& context,
                                                           const Incoming<v1::GenerateRequest>& incoming) {
    auto* writer = new QueueWriter<v1::GenerateResponse>(bounds_);  // deletes itself
    v1::GenerateRequest message;
    absl::StatusOr<Prepared> prepared = Prepare(context, incoming, &message);
    if (!prepared.ok()) {
      writer->queue()->Close(prepared.status());
      return writer;
    }
    writer->set_on_cancel(CancelOf(prepared->request));
    OutputHead head = HeadOf(*prepared, message, base_model_, rooms_.tokenizer);
    Submit(*std::move(prepared), std::make_shared<StreamSink>(std::move(head), writer->queue()));
    return writer;
  }

  grpc::ServerUnaryReactor* GenerateUnary(const grpc::CallbackServerContext& context,
                                          const Incoming<v1::GenerateRequest>& incoming,
                                          v1::GenerateResult* result) {
    auto* reply = new LaterReply;  // deletes itself
    v1::GenerateRequest message;
    absl::StatusOr<Prepared> prepared = Prepare(context, incoming, &message);
    if (!prepared.ok()) {
      reply->Finish(ToGrpc(prepared.status()));
      return reply;
    }
    reply->set_on_cancel(CancelOf(prepared->request));
    OutputHead head = HeadOf(*prepared, message, base_model_, rooms_.tokenizer);
    const int choices = prepared->request.n;
    Submit(*std::move(prepared), std::make_shared<GatherSink>(
                                     std::move(head), choices, result,
                                     [reply](const absl::Status& status) { reply->Finish(ToGrpc(status)); }));
    return reply;
  }

  // Lets the caller in, before its message is looked at.
  absl::StatusOr<Prepared> Prepare(const grpc::CallbackServerContext& context,
                                   const Incoming<v1::GenerateRequest>& incoming,
                                   v1::GenerateRequest* message) {
    const Caller caller = CallerOf(context, rooms_.clock);
    ASSIGN_OR_RETURN(Ticket ticket, intake_.Enter(caller));
    absl::StatusOr<v1::GenerateRequest> parsed = incoming.Parse();
    if (!parsed.ok()) return intake_.Invalid(parsed.status());
    *message = *std::move(parsed);
    return intake_.Prepare(*message, caller, std::move(ticket));
  }

  absl::Status Tokenize(const std::string&, const v1::TokenizeRequest& message,
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

  absl::Status Detokenize(const std::string&, const v1::DetokenizeRequest& message,
                          v1::DetokenizeResponse* out) const {
    RETURN_IF_ERROR(Validate(message, rooms_.limits));
    const std::vector<int32_t> ids(message.token_ids().begin(), message.token_ids().end());
    out->set_text(rooms_.tokenizer.Decode(ids, !message.keep_special_tokens()));
    return absl::OkStatus();
  }

  absl::Status ListModels(const std::string& tenant, const v1::ListModelsRequest&,
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

  // Hands the request on; if it is refused, its sink is told.
  void Submit(Prepared prepared, std::shared_ptr<TokenSink> sink) {
    prepared.request.sink = sink;
    const absl::Status submitted = intake_.Submit(std::move(prepared.request));
    if (!submitted.ok()) sink->OnDone(submitted, {});
  }

  // Ends the request when its client goes away.
  std::function<void()> CancelOf(const Request& request) const {
    return [this, id = request.id, deadline = request.deadline] {
      rooms_.scheduler.cancel(id, CancelStatus(deadline, rooms_.clock));
    };
  }

  // A method that needs no scheduler: `fill` is given the tenant, and returns what is wrong with the message.
  template <class Message, class Response>
  void SetAnswer(const char* name, absl::Status (InferenceService::*fill)(const std::string&, const Message&,
                                                                          Response*) const) {
    SetUnary<Message, Response>(name, [this, fill](auto* context, auto* message, auto* out) {
      grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
      reactor->Finish(ToGrpc(Answer(*context, *message, fill, out)));
      return reactor;
    });
  }
  template <class Message, class Response, class Fill>
  absl::Status Answer(const grpc::CallbackServerContext& context, const Incoming<Message>& incoming,
                      Fill fill, Response* out) {
    const absl::StatusOr<std::string> tenant = intake_.EnterCall(CallerOf(context, rooms_.clock));
    if (!tenant.ok()) return tenant.status();
    const absl::StatusOr<Message> message = incoming.Parse();
    const absl::Status answered = message.ok() ? (this->*fill)(*tenant, *message, out) : message.status();
    return answered.ok() ? answered : intake_.Invalid(answered);
  }

  Intake& intake_;
  const Rooms& rooms_;
  const std::string base_model_;
  const QueueBounds bounds_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(Intake& intake, std::string base_model,
                                                    QueueBounds bounds) {
  return std::make_unique<InferenceService>(intake, std::move(base_model), bounds);
}

}  // namespace hydrad
