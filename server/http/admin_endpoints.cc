#include "server/http/admin_endpoints.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/answers.h"
#include "server/front/error_details.h"
#include "server/http/body_reader.h"
#include "server/http/completion_call.h"  // ReadBody
#include "server/http/error_answer.h"
#include "server/http/model_answers.h"
#include "server/http/plain_answers.h"

namespace hydrad {
namespace {

constexpr char kAdministrators[] = "admin";  // to whom what they do not read is charged
constexpr std::string_view kLoad = "/v1/load_lora_adapter", kUnload = "/v1/unload_lora_adapter";
constexpr std::string_view kModels = "/v1/models", kMethods = "/hydrad.v1.Admin/";

// What vLLM takes. There the name must be new unless "load_inplace" is set; here every load is one in place.
absl::StatusOr<LoadCall> ReadLoad(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  LoadCall call;
  call.name = reader.Text("lora_name").value_or("");
  call.path = reader.Text("lora_path").value_or("");
  reader.Ignore({"load_inplace", "base_model_name"});
  if (const size_t scheme = call.path.find("://"); scheme != std::string::npos) {
    reader.Fail("lora_path",
                fmt::format("is not a path: the daemon fetches nothing. Bring what {}:// stands for to a "
                            "directory under --adapter-root, and name that",
                            call.path.substr(0, scheme)));
  }
  RETURN_IF_ERROR(reader.Finish());
  return call;
}

absl::StatusOr<UnloadCall> ReadUnload(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  UnloadCall call;
  call.name = reader.Text("lora_name").value_or("");
  reader.Ignore({"lora_int_id"});
  RETURN_IF_ERROR(reader.Finish());
  return call;
}

// The fields are called otherwise here.
absl::Status InTheirWords(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  if (details.violations.empty()) return status;
  const FieldViolation& first = details.violations.front();
  return BadParam("lora_" + first.field, first.description);
}

HttpAnswer Success(const std::string& name, std::string_view what) {
  return {.status = 200,
          .body = fmt::format("Success: LoRA adapter '{}' {} successfully.", name, what),
          .type = "text/plain; charset=utf-8"};
}

class AdminEndpoints final : public HttpService, public std::enable_shared_from_this<AdminEndpoints> {
 public:
  AdminEndpoints(const Rooms& rooms, const Admission& admins, const AdapterAdmin& adapters, JsonCalls calls,
                 UnreadOutput& unread, std::function<Health()> health, OpenAiFacts facts,
                 std::shared_ptr<HttpService> rest)
      : rooms_(rooms),
        admins_(admins),
        adapters_(adapters),
        calls_(std::move(calls)),
        unread_(unread),
        health_(std::move(health)),
        facts_(std::move(facts)),
        rest_(std::move(rest)) {}

  std::variant<HttpAnswer, Handler> Open(const RequestHead& head) override {
    if (!IsOurs(head)) return rest_ != nullptr ? rest_->Open(head) : OpenAlone(head);
    if (!head.origin.empty()) return CrossOrigin(head);
    const bool models = head.path == kModels;
    if (models ? head.method != "GET" && head.method != "HEAD" : head.method != "POST")
      return WrongMethod(head, models ? "GET, HEAD" : "POST");
    if (const absl::Status may = adapters_.Enter(CallerOf(head)); !may.ok()) return ErrorAnswer(may);
    if (models) return JsonAnswer(ModelList(EveryModel(rooms_), facts_.base_model, facts_.started));
    if (head.path == kLoad) return Answered(head, &AdminEndpoints::Load);
    if (head.path == kUnload) return Answered(head, &AdminEndpoints::Unload);
    const auto call = calls_.find(head.path.substr(kMethods.size()));
    if (call == calls_.end()) return NotFoundAnswer(head.path);
    return OpenCall(head, call->second);
  }
  HttpAnswer Malformed(int status, const std::string& why) override { return MalformedAnswer(status, why); }
  HttpFields FieldsOf(const RequestHead& head) override {
    return rest_ != nullptr ? rest_->FieldsOf(head) : HttpFields();
  }

 private:
  bool IsOurs(const RequestHead& head) const {
    if (head.path == kLoad || head.path == kUnload || head.path.starts_with(kMethods)) return true;
    return head.path == kModels && (rest_ == nullptr || IsAdministrator(head));
  }
  // Whoever is none may be a tenant, so that nothing is recorded.
  bool IsAdministrator(const RequestHead& head) const {
    const Caller caller = CallerOf(head);
    Duration unused{};
    return caller.key.ok() && admins_.Authenticate(*caller.key, caller.peer, &unused).ok();
  }
  std::variant<HttpAnswer, Handler> OpenAlone(const RequestHead& head) const {
    if (head.path == "/health") return Judged(health_().live);
    if (head.path == "/ready") return Judged(health_().ready);
    return NotFoundAnswer(head.path);
  }

  Handler OpenCall(const RequestHead& head, const JsonCall& call) {
    return
        [self = shared_from_this(), &call, peer = head.peer](std::string body, std::shared_ptr<Reply> reply) {
          reply->Charge(self->unread_, kAdministrators);
          call(body, peer, [reply](const absl::StatusOr<std::string>& json) {
            if (!json.ok()) return reply->Fail(ErrorAnswer(json.status()));
            reply->Send({.status = 200, .body = *json});
          });
        };
  }

  using Work = void (AdminEndpoints::*)(std::string_view body, const std::string& peer,
                                        const std::shared_ptr<Reply>&);
  Handler Answered(const RequestHead& head, Work work) {
    return
        [self = shared_from_this(), work, peer = head.peer](std::string body, std::shared_ptr<Reply> reply) {
          reply->Charge(self->unread_, kAdministrators);
          (self.get()->*work)(body, peer, reply);
        };
  }
  void Load(std::string_view body, const std::string& peer, const std::shared_ptr<Reply>& reply) {
    const absl::StatusOr<LoadCall> call = ReadLoad(body);
    if (!call.ok()) return reply->Fail(ErrorAnswer(call.status()));
    adapters_.Load(*call, peer, Telling(reply, "added"));
  }
  void Unload(std::string_view body, const std::string& peer, const std::shared_ptr<Reply>& reply) {
    const absl::StatusOr<UnloadCall> call = ReadUnload(body);
    if (!call.ok()) return reply->Fail(ErrorAnswer(call.status()));
    adapters_.Unload(*call, peer, Telling(reply, "removed"));
  }
  static AdapterAdmin::Done Telling(std::shared_ptr<Reply> reply, std::string_view what) {
    return [reply = std::move(reply), what](const absl::StatusOr<AdapterInfo>& info) {
      if (!info.ok()) return reply->Fail(ErrorAnswer(InTheirWords(info.status())));
      reply->Send(Success(info->name, what));
    };
  }

  const Rooms& rooms_;
  const Admission& admins_;
  AdapterAdmin adapters_;
  const JsonCalls calls_;
  UnreadOutput& unread_;
  const std::function<Health()> health_;
  const OpenAiFacts facts_;
  const std::shared_ptr<HttpService> rest_;
};

}  // namespace

std::shared_ptr<HttpService> MakeAdminEndpoints(const Rooms& rooms, const Admission& admins,
                                                const AdapterAdmin& adapters, JsonCalls calls,
                                                UnreadOutput& unread, std::function<Health()> health,
                                                OpenAiFacts facts, std::shared_ptr<HttpService> rest) {
  return std::make_shared<AdminEndpoints>(rooms, admins, adapters, std::move(calls), unread,
                                          std::move(health), std::move(facts), std::move(rest));
}

}  // namespace hydrad
