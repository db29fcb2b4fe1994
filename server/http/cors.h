// Pages of other sites, whose scripts a browser lets read answers only if the listener says so (CORS).
#ifndef HYDRAD_SERVER_HTTP_CORS_H_
#define HYDRAD_SERVER_HTTP_CORS_H_

#include <memory>
#include <string>
#include <vector>

#include "server/http/http_service.h"

namespace hydrad {

// What `service` answers, for pages of these origins, too. An origin is what browsers send, "https://host" or
// "https://host:port"; "*" stands for every one, and is for a service that asks for no keys. Pages of other
// origins get what `service` itself gives them.
std::shared_ptr<HttpService> AllowOrigins(std::vector<std::string> origins,
                                          std::shared_ptr<HttpService> service);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_CORS_H_
