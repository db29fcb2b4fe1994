// Who answers the requests of a listener.
#ifndef HYDRAD_SERVER_HTTP_HTTP_SERVICE_H_
#define HYDRAD_SERVER_HTTP_HTTP_SERVICE_H_

#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "server/http/http_message.h"
#include "server/http/reply.h"

namespace hydrad {

// Answers a request whose body has come. It is called once, or never where the body does not come whole. The
// reply may be answered there or later, from any thread; one that is dropped unanswered fails by itself.
using Handler = std::function<void(std::string body, std::shared_ptr<Reply> reply)>;

// Listeners call this on their thread; nothing here may wait.
class HttpService {
 public:
  virtual ~HttpService() = default;
  // Looks at the head of a request, before anybody has read its body: either it is answered at once, as
  // strangers are, or the handler is to have its body.
  virtual std::variant<HttpAnswer, Handler> Open(const RequestHead& head) = 0;
  // What the head of every answer to this request has, whoever gives it. `head` is empty where none could be
  // read.
  virtual HttpFields FieldsOf(const RequestHead& /*head*/) { return {}; }
  // What a client is told that sent no request: `status` is 400, 408, 413, 431, 501 or 500.
  virtual HttpAnswer Malformed(int status, const std::string& why) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_HTTP_SERVICE_H_
