#include "server/http/routes.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(RoutesTest, Table) {
  const struct {
    const char* method;
    const char* path;
    Endpoint endpoint;
  } kCases[] = {
      {"GET", "/", Endpoint::kLanding},
      {"HEAD", "/health", Endpoint::kHealth},
      {"GET", "/ready", Endpoint::kReady},
      {"GET", "/version", Endpoint::kVersion},
      {"GET", "/page/page.js", Endpoint::kPage},
      {"POST", "/page/page.js", Endpoint::kMethod},
      {"GET", "/hydrad/status", Endpoint::kStatus},
      {"POST", "/hydrad/status", Endpoint::kMethod},
      {"GET", "/v1/models", Endpoint::kModels},
      {"GET", "/v1/models/", Endpoint::kUnknown},
      {"GET", "/v1/models/sql", Endpoint::kModel},
      {"DELETE", "/v1/models/sql", Endpoint::kMethod},
      {"POST", "/v1/completions", Endpoint::kCompletions},
      {"GET", "/v1/completions", Endpoint::kMethod},
      {"post", "/v1/completions", Endpoint::kMethod},
      {"POST", "/v1/completions/", Endpoint::kUnknown},
      {"POST", "/v1/chat/completions", Endpoint::kChat},
      {"POST", "/v1/score", Endpoint::kScore},
      {"POST", "/tokenize", Endpoint::kTokenize},
      {"POST", "/detokenize", Endpoint::kDetokenize},
      {"POST", "/health", Endpoint::kMethod},
      {"GET", "/v1", Endpoint::kUnknown},
      {"GET", "*", Endpoint::kUnknown},
      {"GET", "", Endpoint::kUnknown},
  };
  for (const auto& c : kCases)
    EXPECT_EQ(FindRoute(c.method, c.path).endpoint, c.endpoint) << c.method << c.path;
}

TEST(RoutesTest, AModelsNameMayHoldASlash) {
  EXPECT_EQ(FindRoute("GET", "/v1/models/org%2Fbot").model, "org/bot");
  EXPECT_EQ(FindRoute("GET", "/v1/models/org/bot").model, "org/bot");
}

TEST(RoutesTest, AWrongMethodIsToldTheRightOnes) {
  EXPECT_EQ(FindRoute("PUT", "/v1/completions").allow, "POST");
  EXPECT_EQ(FindRoute("POST", "/v1/models").allow, "GET, HEAD");
}

}  // namespace
}  // namespace hydrad
