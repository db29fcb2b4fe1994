#include "server/http/openai_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/json.h"
#include "server/base/status.h"
#include "server/http/http_server.h"
#include "tests/front/front_fixture.h"
#include "tests/http/raw_client.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Serves with the tenants of FrontFixture over a real listener; the scheduler is the test's.
class OpenAiServiceTest : public FrontFixture {
 protected:
  explicit OpenAiServiceTest(bool open = false) : FrontFixture(open) {
    const auto health = [this] {
      MutexLock lock(&mu_);
      return health_;
    };
    server_ = std::make_unique<HttpServer>(
        HttpOptions{}, *HttpServer::Bind("127.0.0.1:0", false),
        MakeOpenAiService(*intake_, *unread_, texts_, health,
                          {.version = "1.2.3", .base_model = "tiny", .started = 1700000000}),
        metrics_);
  }
  ~OpenAiServiceTest() override {
    scheduler_.EndAll();
    server_.reset();
  }

  RawClient Client() const { return RawClient(server_->address()); }
  static std::string Key(const std::string& key) { return "Authorization: Bearer " + key + "\r\n"; }
  std::string Get(const std::string& path, const std::string& fields = "") const {
    RawClient client = Client();
    client.Get(path, fields);
    return client.ReadAnswer();
  }
  std::string Post(const std::string& path, const std::string& body, const std::string& fields) const {
    RawClient client = Client();
    client.Post(path, body, fields);
    return client.ReadAnswer();
  }
  static Json BodyOf(const std::string& answer) {
    return Json::parse(answer.substr(answer.find("\r\n\r\n") + 4));
  }
  static OutputPiece Piece(const std::string& text, bool finished = false) {
    OutputPiece piece;
    piece.text = text;
    piece.finished = finished;
    piece.reason = FinishReason::kStop;
    return piece;
  }
  static void Play(const Request& request, const std::string& text) {
    request.sink->OnStart({});
    request.sink->OnPiece(Piece(text, true));
    request.sink->OnDone(absl::OkStatus(), {});
  }

  Mutex mu_;
  Health health_ ABSL_GUARDED_BY(mu_) = {.live = true, .ready = true};
  std::shared_ptr<UnreadOutput> unread_ = std::make_shared<UnreadOutput>(UnreadBounds{}, clock_);
  TextPool texts_{TextPoolOptions()};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(OpenAiServiceTest, HealthNeedsNoKey) {
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/ready"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(BodyOf(Get("/version"))["version"], "1.2.3");
  EXPECT_THAT(Get("/"), HasSubstr("/v1/completions"));
  {
    MutexLock lock(&mu_);
    health_ = {.live = true, .ready = false};
  }
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/ready"), StartsWith("HTTP/1.1 503 "));
}

TEST_F(OpenAiServiceTest, StrangersLearnNothing) {
  for (const std::string& fields : {std::string(), Key("wrong"), std::string("Authorization: Basic eA==\r\n"),
                                    Key("key-acme") + Key("key-acme")}) {
    EXPECT_THAT(Get("/v1/models", fields), StartsWith("HTTP/1.1 401 "));
    const std::string answer = Post("/v1/completions", "not JSON", fields);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 401 "));
    EXPECT_EQ(BodyOf(answer)["error"]["code"], "invalid_api_key");
  }
  EXPECT_THAT(AuditLines().at(0)["peer"].get<std::string>(), StartsWith("ipv4:127.0.0.1:"));
}

TEST_F(OpenAiServiceTest, ATenantSeesTheModelsThatItMayUse) {
  ASSERT_TRUE(Load("one", "one").ok());
  ASSERT_TRUE(Load("org/two", "two").ok());
  const Json acme = BodyOf(Get("/v1/models", Key("key-acme")));
  EXPECT_EQ(acme["object"], "list");
  ASSERT_EQ(acme["data"].size(), 2u);
  EXPECT_EQ(acme["data"][0], Json::parse(R"({"id": "tiny", "object": "model", "created": 1700000000,
                                           "owned_by": "hydrad", "root": "tiny", "parent": null})"));
  EXPECT_EQ(acme["data"][1]["id"], "one");
  EXPECT_EQ(acme["data"][1]["created"], store_->Get("one")->loaded);
  EXPECT_GT(acme["data"][1]["created"], 1700000000) << "when it was loaded";
  EXPECT_EQ(acme["data"][1]["parent"], "tiny");
  EXPECT_EQ(acme["data"][1]["hydrad"]["family"], "lora");
  EXPECT_EQ(BodyOf(Get("/v1/models/org%2Ftwo", Key("key-globex")))["id"], "org/two");
  EXPECT_EQ(BodyOf(Get("/v1/models/tiny", Key("key-globex")))["id"], "tiny");
  const std::string hidden = Get("/v1/models/org%2Ftwo", Key("key-acme"));
  EXPECT_THAT(hidden, StartsWith("HTTP/1.1 404 "));
  EXPECT_EQ(BodyOf(hidden)["error"]["code"], "model_not_found");
}

TEST_F(OpenAiServiceTest, ATenantSeesHowItsOwnRequestsStand) {
  ASSERT_TRUE(Load("one", "one").ok());
  ASSERT_TRUE(Load("two", "two").ok());
  RawClient client = Client();
  client.Post("/v1/completions", R"({"model": "one", "prompt": "x", "stream": true})", Key("key-acme"));
  const Request request = scheduler_.Take();
  Json acme = BodyOf(Get("/hydrad/status", Key("key-acme")));
  EXPECT_EQ(acme["tenant"], "acme");
  EXPECT_EQ(acme["requests"], Json::parse(R"({"running": 0, "waiting": 1, "ended": 0})"));
  request.sink->OnStart({});
  OutputPiece piece = Piece("a");
  piece.tokens = {5, 6};
  request.sink->OnPiece(piece);
  acme = BodyOf(Get("/hydrad/status", Key("key-acme")));
  EXPECT_EQ(acme["requests"]["running"], 1);
  EXPECT_EQ(acme["generated_tokens"], 2);
  ASSERT_EQ(acme["models"].size(), 2u) << "and none that it may not use";
  EXPECT_EQ(acme["models"][0], Json::parse(R"({"name": "tiny", "base": true, "chat": true, "tier": "device",
                                               "requests": 0})"));
  EXPECT_EQ(acme["models"][1]["name"], "one");
  EXPECT_EQ(acme["models"][1]["family"], "lora");
  EXPECT_EQ(acme["models"][1]["tier"], "device");
  EXPECT_EQ(acme["models"][1]["requests"], 1);
  const Json globex = BodyOf(Get("/hydrad/status", Key("key-globex")));
  EXPECT_EQ(globex["requests"]["running"], 0);
  EXPECT_EQ(globex["generated_tokens"], 0);
  EXPECT_EQ(globex["models"].size(), 3u);
  for (const Json& model : globex["models"]) EXPECT_EQ(model["requests"], 0) << model;
  EXPECT_FALSE(globex.contains("sequences")) << "what all tenants do is not one tenant's to know";
  request.sink->OnDone(absl::OkStatus(), {});
  EXPECT_EQ(BodyOf(Get("/hydrad/status", Key("key-acme")))["requests"]["ended"], 1);
}

TEST_F(OpenAiServiceTest, LookingCostsNoneOfARateButNeedsAKey) {
  for (int i = 0; i < 3; ++i)
    EXPECT_THAT(Get("/hydrad/status", Key("key-slow")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/hydrad/status"), StartsWith("HTTP/1.1 401 "));
  EXPECT_THAT(Get("/v1/models", Key("key-slow")), StartsWith("HTTP/1.1 200 "));
}

TEST_F(OpenAiServiceTest, ThePageNeedsNoKey) {
  EXPECT_THAT(Get("/", "Accept: text/html\r\n"), HasSubstr("\r\nContent-Type: text/html; charset=utf-8\r\n"));
  EXPECT_THAT(Get("/", "Accept: */*\r\n"), HasSubstr("\r\nContent-Type: text/plain; charset=utf-8\r\n"));
  const std::string script = Get("/page/page.js");
  const size_t etag = script.find("\r\nETag: ");
  ASSERT_NE(etag, std::string::npos);
  const std::string value = script.substr(etag + 8, script.find("\r\n", etag + 2) - etag - 8);
  EXPECT_THAT(Get("/page/page.js", "If-None-Match: " + value + "\r\n"), StartsWith("HTTP/1.1 304 "));
}

// Without tenants, on a server of its own.
class OpenOpenAiServiceTest : public OpenAiServiceTest {
 protected:
  OpenOpenAiServiceTest() : OpenAiServiceTest(/*open=*/true) {}
};

TEST_F(OpenOpenAiServiceTest, WhereThereAreNoTenantsTheWholeDaemonIsSeen) {
  scheduler_.SetStatus({.running = 3, .kv_blocks_total = 64, .kv_blocks_free = 60});
  const Json status = BodyOf(Get("/hydrad/status"));
  EXPECT_TRUE(status["tenant"].is_null());
  EXPECT_EQ(status["sequences"], 3);
  EXPECT_EQ(status["cache_blocks"], Json::parse(R"({"total": 64, "free": 60})"));
}

TEST_F(OpenAiServiceTest, ACompletion) {
  ASSERT_TRUE(Load("one", "one").ok());
  RawClient client = Client();
  client.Post("/v1/completions", R"({"model": "one", "prompt": "Once upon", "max_tokens": 9})",
              Key("key-acme"));
  const Request request = scheduler_.Take();
  EXPECT_EQ(request.tenant, "acme");
  EXPECT_EQ(request.adapter.name(), "one");
  EXPECT_EQ(request.prompt, tokenizer_->Encode("Once upon", true, false));
  EXPECT_EQ(request.stopping.max_tokens, 9);
  Play(request, " a time");
  const Json body = BodyOf(client.ReadAnswer());
  EXPECT_EQ(body["choices"][0]["text"], " a time");
  EXPECT_EQ(body["model"], "one");
}

TEST_F(OpenAiServiceTest, AStreamComesAsItIsMade) {
  RawClient client = Client();
  client.Post("/v1/completions", R"({"prompt": "x", "stream": true})", Key("key-acme"));
  const Request request = scheduler_.Take();
  request.sink->OnStart({});
  request.sink->OnPiece(Piece("a"));
  EXPECT_THAT(client.ReadThrough("\n\n"), HasSubstr(R"("text":"a")"));
  request.sink->OnPiece(Piece("b", true));
  EXPECT_THAT(client.ReadThrough("\n\n"), HasSubstr(R"("finish_reason":"stop")"));
  request.sink->OnDone(absl::OkStatus(), {});
  EXPECT_THAT(client.ReadThrough("0\r\n\r\n"), HasSubstr("data: [DONE]\n\n"));
  EXPECT_FALSE(scheduler_.has_cancel()) << "an answer that has ended is not cancelled";
}

TEST_F(OpenAiServiceTest, AStreamThatFailsTellsWhyInItsLastEvent) {
  RawClient client = Client();
  client.Post("/v1/completions", R"({"prompt": "x", "stream": true})", Key("key-acme"));
  const Request request = scheduler_.Take();
  request.sink->OnStart({});
  request.sink->OnPiece(Piece("a"));
  request.sink->OnDone(DataLoss("the logits are not numbers"), {});
  const std::string stream = client.ReadThrough("0\r\n\r\n");
  EXPECT_THAT(stream, HasSubstr(R"({"error":{"message":"the logits are not numbers","type":"server_error")"));
  EXPECT_THAT(stream, testing::Not(HasSubstr("[DONE]")));
}

TEST_F(OpenAiServiceTest, AClientThatGoesAwayCancelsAllItsPrompts) {
  RawClient client = Client();
  client.Post("/v1/completions", R"({"prompt": ["x", "y"], "stream": true})", Key("key-globex"));
  const Request first = scheduler_.Take(), second = scheduler_.Take();
  client.Close();
  EXPECT_EQ(scheduler_.TakeCancel().first, first.id);
  EXPECT_EQ(scheduler_.TakeCancel().first, second.id);
  for (const Request* request : {&first, &second}) request->sink->OnDone(Cancelled("gone"), {});
}

TEST_F(OpenAiServiceTest, EveryPromptCountsAgainstTheTenantsLimits) {
  const std::string answer = Post("/v1/completions", R"({"prompt": ["x", "y"]})", Key("key-acme"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 429 "));
  EXPECT_EQ(scheduler_.submitted(), 0u);
  RawClient client = Client();
  client.Post("/v1/completions", R"({"prompt": "x"})", Key("key-acme"));
  Play(scheduler_.Take(), "a");
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 200 ")) << "the refused one has given its place back";
}

TEST_F(OpenAiServiceTest, ATenantOverItsRateIsToldWhenToComeBack) {
  RawClient client = Client();
  client.Post("/tokenize", R"({"prompt": "x"})", Key("key-slow"));
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("\r\nx-ratelimit-remaining-requests: 0\r\n"));
  client.Post("/v1/completions", R"({"prompt": "x"})", Key("key-slow"));
  const std::string refused = client.ReadAnswer();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(refused, HasSubstr("\r\nRetry-After: 1\r\n"));
  EXPECT_THAT(refused, HasSubstr("\r\nx-ratelimit-reset-requests: 1s\r\n"));
  EXPECT_EQ(BodyOf(refused)["error"]["code"], "rate_limit_exceeded");
}

TEST_F(OpenAiServiceTest, WhatIsWrongWithARequestIsNamed) {
  const struct {
    const char* body;
    const char* key;
    int status;
    const char* param;
  } kCases[] = {
      {R"({"prompt": "x", "top_p": 0})", "key-acme", 400, "top_p"},
      {R"({"prompt": "", "top_p": 0.5})", "key-acme", 400, "prompt"},
      {R"({"prompt": "x", "model": "two"})", "key-acme", 403, "model"},
      {R"({"prompt": "x", "model": "none"})", "key-globex", 404, "model"},
      {R"({"prompt": "x", "tools": []})", "key-acme", 400, "tools"},
      {R"({"prompt": "x", "hydrad": {"expert": "law"}})", "key-acme", 400, "hydrad.expert"},
  };
  for (const auto& c : kCases) {
    const std::string answer = Post("/v1/completions", c.body, Key(c.key));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + std::to_string(c.status))) << c.body;
    EXPECT_EQ(BodyOf(answer)["error"]["param"], c.param) << answer;
  }
}

TEST_F(OpenAiServiceTest, AQueueThatIsFullAndAServerThatEndsSaySo) {
  scheduler_.Answer(ResourceExhausted("the queue is full"));
  EXPECT_THAT(Post("/v1/completions", R"({"prompt": "x"})", Key("key-acme")), StartsWith("HTTP/1.1 429 "));
  intake_->Close();
  const std::string answer = Post("/v1/completions", R"({"prompt": "x"})", Key("key-acme"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(answer, HasSubstr("\r\nRetry-After: 1\r\n"));
}

TEST_F(OpenAiServiceTest, TextsToIdsAndBack) {
  const Json tokenized = BodyOf(Post("/tokenize", R"({"prompt": "Hello there"})", Key("key-acme")));
  EXPECT_EQ(tokenized["tokens"].get<std::vector<int32_t>>(), tokenizer_->Encode("Hello there", true, false));
  EXPECT_EQ(tokenized["count"], tokenized["tokens"].size());
  const Json body = {{"tokens", tokenized["tokens"]}};
  EXPECT_EQ(BodyOf(Post("/detokenize", body.dump(), Key("key-acme")))["prompt"], "Hello there");
  EXPECT_THAT(Post("/detokenize", R"({"tokens": [-1]})", Key("key-acme")), StartsWith("HTTP/1.1 400 "));
}

TEST_F(OpenAiServiceTest, ALongBodyIsReadOnAnotherThread) {
  const std::string text(3000, 'a');
  const Json body = {{"prompt", text}};
  EXPECT_EQ(BodyOf(Post("/tokenize", body.dump(), Key("key-acme")))["tokens"].get<std::vector<int32_t>>(),
            tokenizer_->Encode(text, true, false));
}

TEST_F(OpenAiServiceTest, PagesOfOtherSitesMayNotAsk) {
  const std::string answer =
      Post("/v1/completions", R"({"prompt": "x"})", Key("key-acme") + "Origin: http://evil.example\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403 "));
  EXPECT_THAT(answer, testing::Not(HasSubstr("Access-Control")));
  EXPECT_THAT(Get("/v1/models", Key("key-acme") + "Origin: http://x\r\n"), StartsWith("HTTP/1.1 200 "))
      << "its own page may";
}

TEST_F(OpenAiServiceTest, PathsAndMethodsThatAreNotThere) {
  EXPECT_THAT(Get("/v2"), StartsWith("HTTP/1.1 404 "));
  const std::string wrong = Get("/v1/completions");
  EXPECT_THAT(wrong, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(wrong, HasSubstr("\r\nAllow: POST\r\n"));
}

TEST_F(OpenAiServiceTest, AListenerThatEndsBeforeItsAnswersIsHarmless) {
  RawClient client = Client();
  client.Post("/v1/completions", R"({"prompt": "x", "stream": true})", Key("key-acme"));
  const Request request = scheduler_.Take();
  server_.reset();
  EXPECT_EQ(scheduler_.TakeCancel().first, request.id);
  request.sink->OnStart({});
  EXPECT_FALSE(request.sink->OnPiece(Piece("a")) && request.sink->OnPiece(Piece("b")));
  request.sink->OnDone(Cancelled("gone"), {});
}

}  // namespace
}  // namespace hydrad
