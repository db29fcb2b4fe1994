#include "server/http/error_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/json.h"
#include "server/base/status.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

Json ErrorOf(const HttpAnswer& answer) { return Json::parse(answer.body)["error"]; }

TEST(ErrorAnswerTest, StatusTypeAndCode) {
  const struct {
    absl::Status status;
    int code;
    const char* type;
    const char* name;
  } kCases[] = {
      {WithReason(Unauthenticated("x"), "INVALID_KEY"), 401, "authentication_error", "invalid_api_key"},
      {WithReason(PermissionDenied("x"), "ADAPTER_NOT_ALLOWED"), 403, "permission_error",
       "adapter_not_allowed"},
      {WithReason(NotFound("x"), "ADAPTER_NOT_FOUND"), 404, "invalid_request_error", "model_not_found"},
      {WithReason(ResourceExhausted("x"), "TENANT_LIMIT"), 429, "rate_limit_error", "rate_limit_exceeded"},
      {WithReason(ResourceExhausted("x"), "QUEUE_FULL"), 429, "rate_limit_error", "queue_full"},
      {WithReason(ResourceExhausted("x"), "NO_ROOM"), 422, "invalid_request_error", "no_room"},
      {WithReason(FailedPrecondition("x"), "ADAPTER_FAILED"), 422, "invalid_request_error", "adapter_failed"},
      {WithReason(FailedPrecondition("x"), "NO_CHAT_TEMPLATE"), 400, "invalid_request_error",
       "no_chat_template"},
      {WithReason(Unavailable("x"), "DRAINING"), 503, "server_error", "draining"},
      {DataLoss("x"), 500, "server_error", "data_loss"},
      {WithReason(Internal("x"), "DEVICE_ERROR"), 500, "server_error", "device_error"},
      {DeadlineExceeded("x"), 504, "server_error", "deadline_exceeded"},
      {Cancelled("x"), 499, "server_error", "cancelled"},
  };
  for (const auto& c : kCases) {
    const HttpAnswer answer = ErrorAnswer(c.status);
    EXPECT_EQ(answer.status, c.code) << c.status;
    EXPECT_EQ(ErrorOf(answer)["type"], c.type) << c.status;
    EXPECT_EQ(ErrorOf(answer)["code"], c.name) << c.status;
    EXPECT_EQ(ErrorOf(answer)["message"], "x");
  }
}

TEST(ErrorAnswerTest, WhenToTryAgainIsToldInWholeSecondsAndExactly) {
  const absl::Status status = WithRetry(ResourceExhausted("x"), std::chrono::microseconds(1200400));
  EXPECT_THAT(ErrorAnswer(status).headers,
              ElementsAre(Pair("Retry-After", "2"), Pair("retry-after-ms", "1201")));
  EXPECT_THAT(ErrorAnswer(WithRetry(ResourceExhausted("x"), Duration(0))).headers,
              Contains(Pair("Retry-After", "1")));
  EXPECT_THAT(ErrorAnswer(NotFound("x")).headers, IsEmpty());
  EXPECT_THAT(ErrorAnswer(Unauthenticated("x")).headers, Contains(Pair("WWW-Authenticate", "Bearer")));
}

TEST(ErrorAnswerTest, FieldsAreNamedAsInTheBody) {
  const HttpAnswer answer =
      ErrorAnswer(BadFields({{"sampling.top_p", "must be in (0, 1]"}, {"text", "must not be empty"}}));
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(ErrorOf(answer)["param"], "top_p");
  EXPECT_EQ(ErrorOf(answer)["message"], "top_p must be in (0, 1] (and 1 more)");
  EXPECT_EQ(ErrorOf(ErrorAnswer(NotFound("x")))["param"], nullptr);
  EXPECT_EQ(ErrorOf(ErrorAnswer(WithReason(NotFound("x"), "ADAPTER_NOT_FOUND")))["param"], "model");
}

TEST(ErrorAnswerTest, APromptBeyondTheContextIsToldByItsCode) {
  const Json error = ErrorOf(ErrorAnswer(BeyondContext("text", 9, 8)));
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(error["param"], "prompt");
}

TEST(ParamOfTest, Table) {
  EXPECT_EQ(ParamOf("text"), "prompt");
  EXPECT_EQ(ParamOf("token_ids.ids[3]"), "prompt");
  EXPECT_EQ(ParamOf("prompt", {.prompt = "messages"}), "messages");
  EXPECT_EQ(ParamOf("stopping.stop[1]"), "stop[1]");
  EXPECT_EQ(ParamOf("output.logprobs"), "logprobs");
  EXPECT_EQ(ParamOf("adapter"), "model");
  EXPECT_EQ(ParamOf("form.json_schema"), "response_format");
  EXPECT_EQ(ParamOf("form.choice.texts[2]", {.form = "guided_choice"}), "guided_choice[2]");
  EXPECT_EQ(ParamOf("adapters[0].weight"), "hydrad.adapters[0].weight");
  EXPECT_EQ(ParamOf("adapter_top_k"), "hydrad.adapter_top_k");
  EXPECT_EQ(ParamOf("expert"), "hydrad.expert");
  EXPECT_EQ(ParamOf("messages[0].role"), "messages[0].role");
  EXPECT_EQ(ParamOf("output.logprobs", {.prompt = "messages"}), "top_logprobs");
  EXPECT_EQ(ParamOf("template_arguments", {.prompt = "messages"}), "chat_template_kwargs");
}

TEST(BadParamTest, ANameOfTheBodyStaysAsItIs) {
  EXPECT_EQ(ErrorOf(ErrorAnswer(BadParam("sampling.text", "is not supported")))["param"], "sampling.text");
}

}  // namespace
}  // namespace hydrad
