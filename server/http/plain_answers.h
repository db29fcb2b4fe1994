// What a service says before anybody has looked at a body.
#ifndef HYDRAD_SERVER_HTTP_PLAIN_ANSWERS_H_
#define HYDRAD_SERVER_HTTP_PLAIN_ANSWERS_H_

#include <string>
#include <string_view>

#include "server/base/json.h"
#include "server/front/caller.h"
#include "server/http/http_message.h"

namespace hydrad {

HttpAnswer JsonAnswer(const Json& json);
// Of /health and /ready: 200 or 503.
HttpAnswer Judged(bool good);
HttpAnswer NotFoundAnswer(const std::string& path);
// `allow` lists the methods that the path has.
HttpAnswer WrongMethod(const RequestHead& head, std::string_view allow);
// To a page of another site: a browser would send whatever the site's script asks for.
HttpAnswer CrossOrigin(const RequestHead& head);
// What is told of bytes that are no request; see HttpService.
HttpAnswer MalformedAnswer(int status, const std::string& why);

// Who calls, by the bearer key of the head; no deadline.
Caller CallerOf(const RequestHead& head);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_PLAIN_ANSWERS_H_
