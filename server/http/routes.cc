#include "server/http/routes.h"

#include <array>

#include "server/http/http_message.h"  // Unescaped

namespace hydrad {
namespace {

constexpr std::string_view kGet = "GET, HEAD", kPost = "POST";

struct Row {
  std::string_view path;
  Endpoint endpoint;
  std::string_view methods;
};
constexpr std::array kRows = {
    Row{"/", Endpoint::kLanding, kGet},
    Row{"/health", Endpoint::kHealth, kGet},
    Row{"/ready", Endpoint::kReady, kGet},
    Row{"/version", Endpoint::kVersion, kGet},
    Row{"/hydrad/status", Endpoint::kStatus, kGet},
    Row{"/v1/models", Endpoint::kModels, kGet},
    Row{"/v1/completions", Endpoint::kCompletions, kPost},
    Row{"/v1/chat/completions", Endpoint::kChat, kPost},
    Row{"/v1/score", Endpoint::kScore, kPost},
    Row{"/tokenize", Endpoint::kTokenize, kPost},
    Row{"/detokenize", Endpoint::kDetokenize, kPost},
};
constexpr std::string_view kModelPrefix = "/v1/models/";

bool Allows(std::string_view methods, std::string_view method) {
  return methods == kPost ? method == "POST" : method == "GET" || method == "HEAD";
}

Route Found(Endpoint endpoint, std::string_view methods, std::string_view method) {
  if (!Allows(methods, method)) return {.endpoint = Endpoint::kMethod, .allow = methods};
  return {.endpoint = endpoint};
}

}  // namespace

Route FindRoute(std::string_view method, std::string_view path) {
  for (const Row& row : kRows) {
    if (row.path == path) return Found(row.endpoint, row.methods, method);
  }
  if (path.starts_with(kPagePrefix)) return Found(Endpoint::kPage, kGet, method);
  if (!path.starts_with(kModelPrefix) || path.size() == kModelPrefix.size()) return {};
  Route route = Found(Endpoint::kModel, kGet, method);
  route.model = Unescaped(path.substr(kModelPrefix.size()));
  return route;
}

}  // namespace hydrad
