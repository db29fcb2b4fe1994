#include "server/http/plain_answers.h"

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/front/error_details.h"
#include "server/http/error_answer.h"

namespace hydrad {

HttpAnswer JsonAnswer(const Json& json) { return {.status = 200, .body = json.dump()}; }

HttpAnswer Judged(bool good) {
  return {.status = good ? 200 : 503, .body = Json{{"status", good ? "ok" : "unavailable"}}.dump()};
}

HttpAnswer NotFoundAnswer(const std::string& path) {
  return ErrorAnswer(WithReason(NotFound("there is no {}", path), "NOT_FOUND"));
}

HttpAnswer WrongMethod(const RequestHead& head, std::string_view allow) {
  HttpAnswer answer =
      ErrorAnswer(WithReason(InvalidArgument("{} is for {}", head.path, allow), "METHOD_NOT_ALLOWED"));
  answer.status = 405;
  answer.headers.emplace_back("Allow", allow);
  return answer;
}

HttpAnswer CrossOrigin(const RequestHead& head) {
  return ErrorAnswer(
      WithReason(PermissionDenied("pages of '{}' may not ask here", head.origin), "CROSS_ORIGIN"));
}

HttpAnswer MalformedAnswer(int status, const std::string& why) {
  const absl::Status error = status >= 500 ? Internal("{}", why) : InvalidArgument("{}", why);
  HttpAnswer answer = ErrorAnswer(WithReason(error, "MALFORMED_MESSAGE"));
  answer.status = status;
  return answer;
}

Caller CallerOf(const RequestHead& head) {
  Caller caller{.key = std::string(), .peer = head.peer, .deadline = std::nullopt};
  if (head.authorized_twice) {
    caller.key = Unauthenticated("more than one authorization entry");
  } else if (!head.authorization.empty()) {
    caller.key = BearerKey(head.authorization);
  }
  return caller;
}

}  // namespace hydrad
