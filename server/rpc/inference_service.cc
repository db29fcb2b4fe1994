#include "server/rpc/inference_service.h"

#include <utility>

#include "proto/inference.grpc.pb.h"
#include "server/model/tokenizer/utf8.h"  // IsUtf8
#include "server/rpc/caller.h"
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
  head.start.set_request_id(RequestIdText(prepared.request.id));
  head.echo = std::move(prepared.echo);
  head.token_ids = message.output().token_ids();
  return head;
}

class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(Intake& intake, std::string base_model, QueueBounds bounds)
      : intake_(intake), rooms_(intake.rooms()), base_model_(std::move(base_model)), bounds_(bounds) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* message) override {
    auto* writer = new QueueWriter<v1::GenerateResponse>(bounds_);  // deletes itself
    const Caller caller = CallerOf(*context, rooms_.clock);
    absl::StatusOr<Prepared> prepared = intake_.Prepare(*message, caller);
    if (!prepared.ok()) {
      writer->queue()->Close(prepared.status());
      return writer;
    }
    writer->set_on_cancel(CancelOf(prepared->request));
    OutputHead head = HeadOf(*prepared, *message, base_model_, rooms_.tokenizer);
    Submit(*std::move(prepared), std::make_shared<StreamSink>(std::move(head), writer->queue()));
    return writer;
  }

  grpc::ServerUnaryReactor* GenerateUnary(grpc::CallbackServerContext* context,
                                          const v1::GenerateRequest* message,
                                          v1::GenerateResult* result) override {
    auto* reply = new LaterReply;  // deletes itself
    const Caller caller = CallerOf(*context, rooms_.clock);
    absl::StatusOr<Prepared> prepared = intake_.Prepare(*message, caller);
    if (!prepared.ok()) {
      reply->Finish(ToGrpc(prepared.status()));
      return reply;
    }
    reply->set_on_cancel(CancelOf(prepared->request));
    OutputHead head = HeadOf(*prepared, *message, base_model_, rooms_.tokenizer);
    const int choices = prepared->request.n;
    Submit(*std::move(prepared), std::make_shared<GatherSink>(
                                     std::move(head), choices, result,
                                     [reply](const absl::Status& status) { reply->Finish(ToGrpc(status)); }));
    return reply;
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const v1::TokenizeRequest* message,
                                     v1::TokenizeResponse* out) override {
    return Answer(context, Validate(*message, rooms_.limits), [&](const std::string&) {
      const std::vector<int32_t> ids =
          rooms_.tokenizer.Encode(message->text(), !message->no_special(), message->parse_special());
      out->mutable_token_ids()->Add(ids.begin(), ids.end());
      for (const int32_t id : ids) {
        std::string bytes = rooms_.tokenizer.TokenBytes(id);
        out->add_tokens(IsUtf8(bytes) ? std::move(bytes) : "\uFFFD");
      }
    });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* message,
                                       v1::DetokenizeResponse* out) override {
    return Answer(context, Validate(*message, rooms_.limits), [&](const std::string&) {
      const std::vector<int32_t> ids(message->token_ids().begin(), message->token_ids().end());
      out->set_text(rooms_.tokenizer.Decode(ids, !message->keep_special_tokens()));
    });
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* out) override {
    return Answer(context, absl::OkStatus(), [&](const std::string& tenant) {
      out->set_base_model(base_model_);
      if (rooms_.admission.Allowed(tenant, "")) out->add_models();
      for (const AdapterInfo& info : rooms_.adapters.List()) {
        if (info.state != AdapterState::kAvailable || !rooms_.admission.Allowed(tenant, info.name)) continue;
        auto* model = out->add_models();
        model->set_name(info.name);
        model->set_generation(info.generation);
      }
    });
  }

 private:
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

  // An answer that needs no scheduler: `fill` is given the tenant.
  template <class Fill>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& valid,
                                   Fill fill) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (!valid.ok()) {
      reactor->Finish(ToGrpc(valid));
      return reactor;
    }
    const absl::StatusOr<std::string> tenant = intake_.Authenticate(CallerOf(*context, rooms_.clock));
    if (tenant.ok()) fill(*tenant);
    reactor->Finish(ToGrpc(tenant.status()));
    return reactor;
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
