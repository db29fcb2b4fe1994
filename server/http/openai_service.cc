#include "server/http/openai_service.h"

#include <fmt/format.h>

#include <ctime>
#include <optional>
#include <utility>
#include <vector>

#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/answers.h"
#include "server/front/error_details.h"
#include "server/http/answer.h"
#include "server/http/chat_completion_call.h"
#include "server/http/chat_shape.h"
#include "server/http/completion_call.h"
#include "server/http/error_answer.h"
#include "server/http/model_answers.h"
#include "server/http/page.h"
#include "server/http/plain_answers.h"
#include "server/http/rate_headers.h"
#include "server/http/routes.h"
#include "server/http/score_call.h"
#include "server/http/score_shape.h"
#include "server/http/status_answer.h"
#include "server/http/text_calls.h"

namespace hydrad {
namespace {

// From a page of another site: a browser would send it whatever the site's script asks for.
bool IsFromElsewhere(const RequestHead& head) {
  if (head.origin.empty()) return false;
  const size_t host = head.origin.find("://");
  return host == std::string::npos || head.origin.substr(host + 3) != head.host;
}

class OpenAiService final : public HttpService, public std::enable_shared_from_this<OpenAiService> {
 public:
  OpenAiService(Intake& intake, UnreadOutput& unread, TextPool& texts, std::function<Health()> health,
                OpenAiFacts facts)
      : intake_(intake),
        rooms_(intake.rooms()),
        unread_(unread),
        texts_(texts),
        health_(std::move(health)),
        facts_(std::move(facts)) {}

  std::variant<HttpAnswer, Handler> Open(const RequestHead& head) override {
    const Route route = FindRoute(head.method, head.path);
    switch (route.endpoint) {
      case Endpoint::kUnknown:
        return NotFoundAnswer(head.path);
      case Endpoint::kMethod:
        return WrongMethod(head, route.allow);
      case Endpoint::kLanding:
        return StartAnswer(head);
      case Endpoint::kPage:
        return PageAnswer(head);
      case Endpoint::kHealth:
        return Judged(health_().live);
      case Endpoint::kReady:
        return Judged(health_().ready);
      case Endpoint::kVersion:
        return JsonAnswer({{"version", facts_.version}});
      default:
        break;
    }
    if (IsFromElsewhere(head)) return CrossOrigin(head);
    if (route.endpoint == Endpoint::kCompletions)
      return OpenRequest(head, &OpenAiService::StartCompletion, /*long_work=*/false);
    // A template takes what it takes.
    if (route.endpoint == Endpoint::kChat)
      return OpenRequest(head, &OpenAiService::StartChat, /*long_work=*/true);
    if (route.endpoint == Endpoint::kScore)
      return OpenRequest(head, &OpenAiService::StartScore, /*long_work=*/true);
    return OpenCall(head, route);
  }

  HttpAnswer Malformed(int status, const std::string& why) override { return MalformedAnswer(status, why); }

 private:
  // A tenant that is over its rate is told what is left of it.
  HttpAnswer Refused(const absl::Status& status) const {
    HttpAnswer answer = ErrorAnswer(status);
    const ErrorDetails details = DetailsOf(status);
    if (const auto tenant = details.metadata.find("tenant"); tenant != details.metadata.end()) {
      for (auto& header : RateHeaders(rooms_.admission.RateOf(tenant->second)))
        answer.headers.push_back(std::move(header));
    }
    return answer;
  }

  // A call that needs the scheduler. `start` starts its requests; what it returns, if it is an error, is the
  // answer.
  using Start = absl::Status (OpenAiService::*)(const EnteredCall&, std::string_view body,
                                                const std::shared_ptr<Reply>&);
  std::variant<HttpAnswer, Handler> OpenRequest(const RequestHead& head, Start start, bool long_work) {
    auto call = std::make_shared<EnteredCall>();
    call->caller = CallerOf(head);
    absl::StatusOr<Ticket> entered = intake_.Enter(call->caller);
    if (!entered.ok()) return Refused(entered.status());
    call->asker = {entered->tenant(), entered->weight(), entered->cache_group()};
    auto ticket = std::make_shared<Ticket>(*std::move(entered));
    return Handler([self = shared_from_this(), call, ticket, start, long_work](std::string body,
                                                                               std::shared_ptr<Reply> reply) {
      reply->Keep(std::move(*ticket));
      self->Begin(*call, *reply);
      self->Work(
          *call, std::move(body), reply,
          [self, call, reply, start](std::string_view text) {
            return (self.get()->*start)(*call, text, reply);
          },
          long_work);
    });
  }

  // A call that is answered at once.
  std::variant<HttpAnswer, Handler> OpenCall(const RequestHead& head, const Route& route) {
    auto call = std::make_shared<EnteredCall>();
    call->caller = CallerOf(head);
    const bool glance = route.endpoint == Endpoint::kStatus;
    absl::StatusOr<std::string> tenant =
        glance ? intake_.EnterGlance(call->caller) : intake_.EnterCall(call->caller);
    if (!tenant.ok()) return Refused(tenant.status());
    call->asker.tenant = *std::move(tenant);
    const bool listing = glance || route.endpoint == Endpoint::kModels || route.endpoint == Endpoint::kModel;
    return Handler(
        [self = shared_from_this(), call, route, listing](std::string body, std::shared_ptr<Reply> reply) {
          self->Begin(*call, *reply);
          self->Work(
              *call, std::move(body), reply,
              [self, call, route, reply](std::string_view text) -> absl::Status {
                absl::StatusOr<Json> answer = self->Respond(call->asker.tenant, route, text);
                if (!answer.ok()) return self->intake_.Invalid(answer.status(), call->caller);
                reply->Send(JsonAnswer(*answer));
                return absl::OkStatus();
              },
              /*long_work=*/listing);  // there may be thousands
        });
  }

  // The reply is told whom it belongs to.
  void Begin(const EnteredCall& call, Reply& reply) {
    reply.Charge(unread_, call.asker.tenant);
    for (auto& [name, value] : RateHeaders(rooms_.admission.RateOf(call.asker.tenant)))
      reply.AddHeader(std::move(name), std::move(value));
    reply.OnGone([cancel = call.cancel] { cancel->Cancel(Cancelled("the client closed its connection")); });
  }

  // Does `work` with the body, now or on a thread for long texts; what it returns, if it is an error, is the
  // answer.
  using BodyWork = std::function<absl::Status(std::string_view body)>;
  void Work(const EnteredCall& call, std::string body, const std::shared_ptr<Reply>& reply, BodyWork work,
            bool long_work = false) {
    const size_t size = body.size();
    const auto kept = std::make_shared<std::string>(std::move(body));
    intake_.Work(
        texts_, call, size,
        [reply, kept, work = std::move(work)](absl::Status status) {
          if (status.ok()) status = work(*kept);
          if (!status.ok()) reply->Fail(ErrorAnswer(status));
        },
        long_work);
  }

  absl::StatusOr<Json> Respond(const std::string& tenant, const Route& route, std::string_view body) const {
    switch (route.endpoint) {
      case Endpoint::kTokenize:
        return AnswerTokenize(rooms_, tenant, facts_.base_model, body);
      case Endpoint::kDetokenize:
        return AnswerDetokenize(rooms_, tenant, facts_.base_model, body);
      case Endpoint::kStatus:
        return StatusObject(intake_, tenant, facts_.base_model);
      default:
        break;
    }
    const std::vector<ServedModel> models = ModelsFor(rooms_, tenant);
    if (route.endpoint == Endpoint::kModels) return ModelList(models, facts_.base_model, facts_.started);
    for (const ServedModel& model : models) {
      if (route.model == (model.name.empty() ? facts_.base_model : model.name))
        return ModelObject(model, facts_.base_model, facts_.started);
    }
    return WithReason(NotFound("there is no model '{}'", route.model), "ADAPTER_NOT_FOUND");
  }

  absl::Status StartCompletion(const EnteredCall& call, std::string_view body,
                               const std::shared_ptr<Reply>& reply) {
    absl::StatusOr<CompletionCall> read = ReadCompletionCall(body, facts_.base_model);
    if (!read.ok()) return intake_.Invalid(read.status(), call.caller);
    // A short body is read on the listener's thread, which a form would hold up.
    if (body.size() > Intake::kShortMessage || !TakesLong(read->calls.front()))
      return StartCompletions(call, *std::move(read), reply);
    const auto kept = std::make_shared<CompletionCall>(*std::move(read));
    Work(
        call, "", reply,
        [self = shared_from_this(), call, kept, reply](std::string_view) {
          return self->StartCompletions(call, std::move(*kept), reply);
        },
        /*long_work=*/true);
    return absl::OkStatus();
  }

  absl::Status StartCompletions(const EnteredCall& call, CompletionCall read,
                                const std::shared_ptr<Reply>& reply) {
    const OutputFields& output = read.calls.front().output;
    std::vector<std::unique_ptr<AnswerShape>> shapes;
    for (size_t i = 0; i < read.calls.size(); ++i)
      shapes.push_back(std::make_unique<CompletionShape>(output.logprobs.has_value(), output.echo, Writer()));
    return StartAll(call, std::move(read.calls), std::move(shapes), {.wishes = std::move(read.wishes)},
                    reply);
  }

  absl::Status StartChat(const EnteredCall& call, std::string_view body,
                         const std::shared_ptr<Reply>& reply) {
    absl::StatusOr<ChatCompletionCall> read = ReadChatCompletionCall(body, facts_.base_model);
    if (!read.ok()) return intake_.Invalid(read.status(), call.caller);
    std::vector<std::unique_ptr<AnswerShape>> shapes;
    shapes.push_back(std::make_unique<ChatShape>(read->call.output.logprobs.has_value(), Writer()));
    std::vector<GenerateCall> calls;
    calls.push_back(std::move(read->call));
    return StartAll(call, std::move(calls), std::move(shapes),
                    {.wishes = std::move(read->wishes), .names = {.prompt = "messages"}}, reply);
  }

  absl::Status StartScore(const EnteredCall& call, std::string_view body,
                          const std::shared_ptr<Reply>& reply) {
    absl::StatusOr<ScoreCall> read = ReadScoreCall(body, facts_.base_model);
    if (!read.ok()) return intake_.Invalid(read.status(), call.caller);
    std::vector<std::unique_ptr<AnswerShape>> shapes;
    shapes.push_back(std::make_unique<ScoreShape>(read->call.labels));
    std::vector<GenerateCall> calls;
    const bool chat = std::holds_alternative<ChatPrompt>(read->call.prompt);
    calls.push_back(std::move(read->call));
    return StartAll(call, std::move(calls), std::move(shapes),
                    {.wishes = std::move(read->wishes), .names = {.prompt = chat ? "messages" : "prompt"}},
                    reply);
  }

  TokenWriter Writer() const {
    return [&tokenizer = rooms_.tokenizer](int32_t token) { return tokenizer.TokenBytes(token); };
  }

  // Starts a request for each prompt. Every one after the first needs a place among its tenant's requests of
  // its own, and is ended by itself.
  absl::Status StartAll(const EnteredCall& call, std::vector<GenerateCall> prompts,
                        std::vector<std::unique_ptr<AnswerShape>> shapes, Answer::Options options,
                        const std::shared_ptr<Reply>& reply) {
    std::vector<EnteredCall> calls(prompts.size(), call);
    for (size_t i = 1; i < calls.size(); ++i) {
      ASSIGN_OR_RETURN(Ticket ticket, intake_.Enter(call.caller));
      reply->Keep(std::move(ticket));
    }
    if (calls.size() > 1) {
      for (EnteredCall& each : calls) each.cancel = std::make_shared<CancelPoint>();
      options.cancel = [cancel = call.cancel] { cancel->Cancel(Cancelled("another prompt has failed")); };
      call.cancel->Bind([calls](const absl::Status& why) {
        for (const EnteredCall& each : calls) each.cancel->Cancel(why);
      });
    }
    options.created = std::time(nullptr);
    if (!options.wishes.form_name.empty()) options.names.form = options.wishes.form_name;
    const auto answer = std::make_shared<Answer>(std::move(options), std::move(shapes), reply);
    for (size_t i = 0; i < calls.size(); ++i) {
      const absl::Status started = intake_.Start(calls[i], std::move(prompts[i]), [&](AnswerHead head) {
        return answer->SinkFor(i, std::move(head));
      });
      if (!started.ok()) {
        answer->Fail(started);
        break;
      }
    }
    return absl::OkStatus();
  }

  Intake& intake_;
  const Rooms& rooms_;
  UnreadOutput& unread_;
  TextPool& texts_;
  const std::function<Health()> health_;
  const OpenAiFacts facts_;
};

}  // namespace

std::shared_ptr<HttpService> MakeOpenAiService(Intake& intake, UnreadOutput& unread, TextPool& texts,
                                               std::function<Health()> health, OpenAiFacts facts) {
  return std::make_shared<OpenAiService>(intake, unread, texts, std::move(health), std::move(facts));
}

}  // namespace hydrad
