#include "server/http/cors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

// Answers with the origin that it sees.
class OriginService final : public HttpService {
 public:
  std::variant<HttpAnswer, Handler> Open(const RequestHead& head) override {
    return HttpAnswer{.status = head.origin.empty() ? 200 : 403, .body = head.method};
  }
  HttpAnswer Malformed(int status, const std::string& why) override {
    return {.status = status, .body = why};
  }
  HttpFields FieldsOf(const RequestHead&) override { return {{"own", "field"}}; }
};

RequestHead From(const std::string& origin, const std::string& method = "POST") {
  RequestHead head;
  head.method = method;
  head.origin = origin;
  return head;
}

HttpAnswer Ask(HttpService& service, const RequestHead& head) {
  return std::get<HttpAnswer>(service.Open(head));
}

TEST(CorsTest, OnlyTheseOriginsAreKnown) {
  const auto service = AllowOrigins({"https://a", "https://b:8"}, std::make_shared<OriginService>());
  for (const char* origin : {"https://a", "https://b:8"}) {
    const RequestHead head = From(origin);
    EXPECT_EQ(Ask(*service, head).status, 200);
    EXPECT_THAT(service->FieldsOf(head), Contains(Pair("Access-Control-Allow-Origin", origin)));
    EXPECT_THAT(service->FieldsOf(head), Contains(Pair("own", "field")));
  }
  for (const char* origin : {"http://a", "https://a:443", "https://a.evil", "https://b", "null", "*"}) {
    const RequestHead head = From(origin);
    EXPECT_EQ(Ask(*service, head).status, 403) << origin;
    EXPECT_THAT(service->FieldsOf(head), Not(Contains(Pair("Access-Control-Allow-Origin", testing::_))));
    EXPECT_THAT(service->FieldsOf(head), Contains(Pair("Vary", "Origin")));
  }
  EXPECT_EQ(Ask(*service, From("", "GET")).status, 200);
  EXPECT_THAT(service->FieldsOf({}), Contains(Pair("Vary", "Origin"))) << "caches are told in any case";
}

TEST(CorsTest, ABrowserMayAskFirst) {
  const auto service = AllowOrigins({"https://a"}, std::make_shared<OriginService>());
  RequestHead head = From("https://a", "OPTIONS");
  head.wanted_method = "POST";
  head.wanted_fields = "authorization, x-stainless-os";
  const HttpAnswer answer = Ask(*service, head);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
  EXPECT_THAT(answer.headers,
              Contains(Pair("Access-Control-Allow-Headers", "authorization, x-stainless-os")));
  EXPECT_THAT(answer.headers, Contains(Pair("Access-Control-Allow-Methods", testing::HasSubstr("POST"))));
  head.wanted_fields = "a\"b";
  EXPECT_THAT(Ask(*service, head).headers, Not(Contains(Pair("Access-Control-Allow-Headers", testing::_))));
  head.origin = "https://b";
  EXPECT_THAT(Ask(*service, head).headers, IsEmpty());
  head.origin = "https://a";
  head.wanted_method = "";
  EXPECT_EQ(Ask(*service, head).body, "OPTIONS") << "is nobody's question";
}

TEST(CorsTest, EveryOriginIsToldSo) {
  const auto service = AllowOrigins({"*"}, std::make_shared<OriginService>());
  const RequestHead head = From("null");
  EXPECT_EQ(Ask(*service, head).status, 200);
  EXPECT_THAT(service->FieldsOf(head), Contains(Pair("Access-Control-Allow-Origin", "*")));
}

}  // namespace
}  // namespace hydrad
