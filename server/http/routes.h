// Which paths there are.
#ifndef HYDRAD_SERVER_HTTP_ROUTES_H_
#define HYDRAD_SERVER_HTTP_ROUTES_H_

#include <string>
#include <string_view>

namespace hydrad {

enum class Endpoint {
  kUnknown,  // 404
  kMethod,   // 405: the path is there, but not for this method
  kLanding,
  kPage,
  kHealth,
  kReady,
  kVersion,
  kStatus,
  kModels,
  kModel,
  kCompletions,
  kChat,
  kScore,
  kTokenize,
  kDetokenize,
};

// What goes before the names of the page's files.
inline constexpr std::string_view kPagePrefix = "/page/";

struct Route {
  Endpoint endpoint = Endpoint::kUnknown;
  std::string model{};       // of kModel, unescaped: it may hold '/'
  std::string_view allow{};  // of kMethod: the methods that there are
};

// A pure function of a request's first line. `path` is without its query and not unescaped.
Route FindRoute(std::string_view method, std::string_view path);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_ROUTES_H_
