#include "server/http/error_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <utility>

#include "server/front/error_details.h"
#include "server/http/json_text.h"

namespace hydrad {
namespace {

// Of a field that the client named itself (BadParam): it is not translated.
constexpr std::string_view kOwnName = "body:";

constexpr std::string_view kMessages = "messages";  // what chat completions call their prompt

constexpr std::array<std::string_view, 4> kGroups = {"sampling.", "stopping.", "output.", ""};
// Fields of hydrad.v1 that stand in the body's "hydrad" object.
constexpr std::array<std::string_view, 4> kExtra = {"adapters", "adapter_top_k", "expert", "decision"};

int CodeOf(const absl::Status& status, const ErrorDetails& details) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kFailedPrecondition:
      return details.reason == "NO_CHAT_TEMPLATE" || details.reason == "NO_STRUCTURED_OUTPUT" ? 400 : 422;
    case absl::StatusCode::kResourceExhausted:
      return details.reason == "NO_ROOM" ? 422 : 429;  // which no waiting mends
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string_view TypeOf(int code) {
  switch (code) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    default:
      return code < 499 ? "invalid_request_error" : "server_error";
  }
}

std::string NameOf(const ErrorDetails& details) {
  const std::string& reason = details.reason;
  if (details.metadata.contains("max_context")) return "context_length_exceeded";
  if (reason == "INVALID_KEY") return "invalid_api_key";
  if (reason == "ADAPTER_NOT_FOUND") return "model_not_found";
  if (reason == "TENANT_LIMIT") return "rate_limit_exceeded";
  std::string name = reason;
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::string MessageOf(const absl::Status& status, const ErrorDetails& details, const BodyNames& names) {
  if (details.violations.empty()) return std::string(status.message());
  const FieldViolation& first = details.violations.front();
  std::string text = fmt::format("{} {}", ParamOf(first.field, names), first.description);
  if (const size_t more = details.violations.size() - 1; more > 0)
    text += fmt::format(" (and {} more)", more);
  return text;
}

std::string FieldOf(const ErrorDetails& details, const BodyNames& names) {
  if (!details.violations.empty()) return ParamOf(details.violations.front().field, names);
  if (details.reason == "NO_STRUCTURED_OUTPUT") return names.form;
  return details.reason == "ADAPTER_NOT_FOUND" || details.reason == "ADAPTER_NOT_ALLOWED" ? "model" : "";
}

}  // namespace

std::string ParamOf(std::string_view field, const BodyNames& names) {
  if (field.starts_with(kOwnName)) return std::string(field.substr(kOwnName.size()));
  if (field == "text" || field == "prompt" || field.starts_with("token_ids")) return names.prompt;
  if (field == "adapter") return "model";
  if (field == "form" || field.starts_with("form."))
    return names.form + std::string(field.substr(std::min(field.find('['), field.size())));
  if (names.prompt == kMessages) {
    if (field == "output.logprobs") return "top_logprobs";
    if (field == "template_arguments") return "chat_template_kwargs";
  }
  if (std::ranges::any_of(kExtra, [&](auto name) {
        return field.starts_with(name) && (field.size() == name.size() || field[name.size()] == '[');
      })) {
    return fmt::format("hydrad.{}", field);
  }
  const auto group = std::ranges::find_if(kGroups, [&](auto name) { return field.starts_with(name); });
  return std::string(field.substr(group->size()));
}

HttpAnswer ErrorAnswer(const absl::Status& status, const BodyNames& names) {
  const ErrorDetails details = DetailsOf(status);
  HttpAnswer answer;
  answer.status = CodeOf(status, details);
  const std::string param = FieldOf(details, names);
  answer.body = fmt::format(R"({{"error":{{"message":{},"type":"{}","param":{},"code":{}}}}})",
                            Quoted(MessageOf(status, details, names)), TypeOf(answer.status),
                            param.empty() ? "null" : Quoted(param), Quoted(NameOf(details)));
  if (details.retry) {
    const auto seconds = static_cast<int64_t>(std::ceil(Seconds(*details.retry)));
    answer.headers.emplace_back("Retry-After", std::to_string(std::max<int64_t>(seconds, 1)));
    const auto millis = std::chrono::ceil<std::chrono::milliseconds>(*details.retry);
    answer.headers.emplace_back("retry-after-ms", std::to_string(millis.count()));
  }
  if (answer.status == 401) answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  return answer;
}

absl::Status BadParam(std::string_view param, std::string_view description) {
  return BadFields({{fmt::format("{}{}", kOwnName, param), std::string(description)}});
}

}  // namespace hydrad
