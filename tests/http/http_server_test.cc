#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <deque>
#include <vector>

#include "server/base/mutex.h"
#include "server/http/error_answer.h"
#include "tests/fakes/made_certificate.h"
#include "tests/http/raw_client.h"

namespace hydrad {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// GET is answered at once, with the path. A POST's body and reply are kept for the test; what is not taken is
// dropped.
class KeepingService final : public HttpService {
 public:
  std::variant<HttpAnswer, Handler> Open(const RequestHead& head) override {
    if (head.path == "/refused") return HttpAnswer{.status = 401, .body = "no"};
    if (head.method != "POST") return HttpAnswer{.status = 200, .body = head.path};
    return Handler([this](std::string body, std::shared_ptr<Reply> reply) {
      MutexLock lock(&mu_);
      reply->OnGone([this] {
        MutexLock gone_lock(&gone_mu_);
        ++gone_;
      });
      kept_.emplace_back(std::move(body), std::move(reply));
    });
  }
  HttpAnswer Malformed(int status, const std::string& why) override {
    return {.status = status, .body = why};
  }
  HttpFields FieldsOf(const RequestHead& head) override { return {{"asked", head.method}}; }

  std::pair<std::string, std::shared_ptr<Reply>> Take() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !kept_.empty(); });
    auto first = std::move(kept_.front());
    kept_.pop_front();
    return first;
  }
  void AwaitGone(int count) {
    MutexLock lock(&gone_mu_);
    gone_mu_.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return gone_ >= count; });
  }

 private:
  Mutex mu_, gone_mu_;
  std::deque<std::pair<std::string, std::shared_ptr<Reply>>> kept_ ABSL_GUARDED_BY(mu_);
  int gone_ ABSL_GUARDED_BY(gone_mu_) = 0;
};

class HttpServerTest : public testing::Test {
 protected:
  void Serve(HttpOptions options = {}) {
    service_ = std::make_shared<KeepingService>();
    server_ =
        std::make_unique<HttpServer>(options, *HttpServer::Bind("127.0.0.1:0", false), service_, metrics_);
  }
  RawClient Client() const { return RawClient(server_->address()); }
  std::string Series() const {
    return prometheus::TextSerializer().Serialize(metrics_.collectable()->Collect());
  }

  Metrics metrics_;
  std::shared_ptr<KeepingService> service_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, OneConnectionCarriesRequestAfterRequest) {
  Serve();
  RawClient client = Client();
  for (const char* path : {"/a", "/b"}) {
    client.Get(path);
    EXPECT_THAT(client.ReadAnswer(), EndsWith(std::string("\r\n\r\n") + path));
  }
  client.Post("/c", "body");
  auto [body, reply] = service_->Take();
  EXPECT_EQ(body, "body");
  reply->Send({.status = 200, .body = "c"});
  EXPECT_THAT(client.ReadAnswer(), EndsWith("\r\n\r\nc"));
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInTheirOrder) {
  Serve();
  RawClient client = Client();
  client.Send(
      "POST /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /2 HTTP/1.1\r\n\r\nPOST /3 "
      "HTTP/1.1\r\nTransfer-Encoding: "
      "chunked\r\n\r\n2\r\nyz\r\n0\r\n\r\nGET /4 HTTP/1.1\r\n\r\n");
  auto [first, first_reply] = service_->Take();
  EXPECT_EQ(first, "x");
  first_reply->Send({.status = 200, .body = "1"});
  EXPECT_THAT(client.ReadAnswer(), EndsWith("\r\n\r\n1"));
  EXPECT_THAT(client.ReadAnswer(), EndsWith("\r\n\r\n/2"));
  auto [third, third_reply] = service_->Take();
  EXPECT_EQ(third, "yz");
  third_reply->Event("3");
  third_reply->EndEvents();
  EXPECT_THAT(client.ReadThrough("0\r\n\r\n"), HasSubstr("data: 3\n\n"));
  EXPECT_THAT(client.ReadAnswer(), EndsWith("\r\n\r\n/4"));
}

TEST_F(HttpServerTest, ManyPipelinedRequestsAreAllAnswered) {
  Serve();
  RawClient client = Client();
  std::string requests;
  for (int i = 0; i < 300; ++i) requests += "GET /p HTTP/1.1\r\n\r\n";
  client.Send(requests);
  for (int i = 0; i < 300; ++i) ASSERT_THAT(client.ReadAnswer(), EndsWith("/p")) << i;
}

TEST_F(HttpServerTest, AClientThatAsksToCloseOrIsOldIsClosed) {
  Serve();
  RawClient leaves = Client();
  leaves.Get("/a", "Connection: close\r\n");
  EXPECT_THAT(leaves.ReadToEnd(), HasSubstr("\r\nConnection: close\r\n"));
  RawClient old = Client();
  old.Send("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
  auto [body, reply] = service_->Take();
  reply->Event("a");
  reply->Event("b");
  reply->EndEvents();
  EXPECT_THAT(old.ReadToEnd(), EndsWith("\r\n\r\ndata: a\n\ndata: b\n\n"));
}

TEST_F(HttpServerTest, ABodyThatNobodyWantsIsNotRead) {
  Serve();
  RawClient client = Client();
  client.Send("POST /refused HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nsome");
  EXPECT_THAT(client.ReadToEnd(), StartsWith("HTTP/1.1 401 "));
}

TEST_F(HttpServerTest, ARefusedClientThatSendsOnReadsItsAnswer) {
  Serve();
  RawClient client = Client();
  client.Send("POST /refused HTTP/1.1\r\nContent-Length: 500000\r\n\r\n" + std::string(500000, 'x'));
  EXPECT_THAT(client.ReadToEnd(), StartsWith("HTTP/1.1 401 "));
}

TEST_F(HttpServerTest, AClientThatWaitsToBeAskedForItsBodyIs) {
  Serve();
  RawClient client = Client();
  client.Send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.ReadThrough("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("ok");
  auto [body, reply] = service_->Take();
  EXPECT_EQ(body, "ok");
}

TEST_F(HttpServerTest, ARequestIsDroppedWithAnAnswer) {
  Serve();
  RawClient client = Client();
  client.Post("/", "");
  service_->Take();
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 500 "));
  client.Get("/next");
  EXPECT_THAT(client.ReadAnswer(), EndsWith("/next"));
}

TEST_F(HttpServerTest, AClientThatGoesAwayIsToldAtOnce) {
  Serve();
  RawClient waits = Client(), reads = Client();
  waits.Post("/", "");
  auto [_, waiting] = service_->Take();
  waits.Close();
  service_->AwaitGone(1);
  reads.Post("/", "");
  auto [body, reply] = service_->Take();
  EXPECT_TRUE(reply->Event("a"));
  reads.ReadThrough("data: a\n\n");
  reads.Close();
  service_->AwaitGone(2);
  EXPECT_FALSE(reply->Event("b"));
}

TEST_F(HttpServerTest, WhatIsNoRequestIsToldSoAndClosed) {
  Serve({.request = {.head_bytes = 1000, .body_bytes = 10}});
  const struct {
    std::string bytes;
    const char* answer;
  } kCases[] = {{"\x16\x03\x01", "HTTP/1.1 400 "},
                {"GET / HTTP/1.1\r\nA: " + std::string(2000, 'x'), "HTTP/1.1 431 "},
                {"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n", "HTTP/1.1 413 "},
                {"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 501 "}};
  for (const auto& c : kCases) {
    RawClient client = Client();
    client.Send(c.bytes);
    EXPECT_THAT(client.ReadToEnd(), StartsWith(c.answer));
  }
}

TEST_F(HttpServerTest, AnEndlessHeadIsCutWhereverItIsCut) {
  Serve();
  RawClient client = Client();
  client.Send("GET / HTTP/1.1\r\n");
  while (client.Send("A: b\r\n")) continue;
  SUCCEED() << "the server has closed the connection";
}

TEST_F(HttpServerTest, ASlowHeadAndASlowBodyRunOutOfTime) {
  Serve({.silence = std::chrono::milliseconds(1), .body = std::chrono::milliseconds(1)});
  RawClient silent = Client();
  EXPECT_EQ(silent.ReadToEnd(), "") << "one that says nothing is told nothing";
  RawClient head = Client();
  head.Send("GET / HT");
  EXPECT_THAT(head.ReadToEnd(), StartsWith("HTTP/1.1 408 "));
  RawClient body = Client();
  body.Send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_THAT(body.ReadToEnd(), StartsWith("HTTP/1.1 408 "));
}

TEST_F(HttpServerTest, AHandshakeThatIsSlowOrNoneIsClosed) {
  const MadeCertificate own = MakeAuthority();
  const CertificateHolder certificates({own.certificate, own.key, "", ""});
  Serve({.certificates = &certificates, .silence = std::chrono::milliseconds(1)});
  RawClient silent = Client(), slow = Client();
  EXPECT_EQ(silent.ReadToEnd(), "");
  slow.Send("\x16\x03\x01");
  EXPECT_EQ(slow.ReadToEnd(), "");
  EXPECT_THAT(Series(), testing::Not(HasSubstr("not_tls")));
  server_.reset();  // which uses the certificates
}

TEST_F(HttpServerTest, PlainTextIsNotForAListenerOfTls) {
  const MadeCertificate own = MakeAuthority();
  const CertificateHolder certificates({own.certificate, own.key, "", ""});
  Serve({.certificates = &certificates});
  RawClient client = Client();
  client.Get("/a");
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_THAT(Series(), HasSubstr("listener=\"http\",reason=\"not_tls\""));
  server_.reset();
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosed) {
  Serve({.idle = std::chrono::milliseconds(1)});
  RawClient client = Client();
  client.Get("/a");
  EXPECT_THAT(client.ReadToEnd(), EndsWith("/a"));
}

TEST_F(HttpServerTest, AClientThatNeverReadsLosesItsConnection) {
  Serve({.stall = std::chrono::milliseconds(1)});
  RawClient client = Client();
  client.Post("/", "");
  auto [body, reply] = service_->Take();
  reply->Send({.status = 200, .body = std::string(64 << 20, 'x')});
  service_->AwaitGone(1);
}

TEST_F(HttpServerTest, AFloodOfSilentConnectionsKeepsNobodyOut) {
  Serve({.connections = {.total = 8, .per_peer = 8}});
  RawClient busy = Client();
  busy.Post("/", "");
  auto [body, reply] = service_->Take();
  std::vector<RawClient> flood;
  for (int i = 0; i < 50; ++i) flood.push_back(Client());
  RawClient late = Client();
  late.Get("/late");
  EXPECT_THAT(late.ReadAnswer(), EndsWith("/late"));
  reply->Send({.status = 200, .body = "busy"});
  EXPECT_THAT(busy.ReadAnswer(), EndsWith("busy")) << "who has asked stays";
  EXPECT_THAT(Series(), HasSubstr("listener=\"http\",reason=\"silent\""));
}

TEST_F(HttpServerTest, TheDaemonSeesWhetherItAnswers) {
  const MadeCertificate own = MakeAuthority();
  const CertificateHolder certificates({own.certificate, own.key, own.certificate, ""});
  ListenSocket socket = *HttpServer::Bind("127.0.0.1:0", false);
  const int door = socket.sockets().front().get();
  service_ = std::make_shared<KeepingService>();
  server_ = std::make_unique<HttpServer>(
      HttpOptions{.connections = {.total = 1, .per_peer = 1}, .certificates = &certificates},
      std::move(socket), service_, metrics_);
  RawClient stranger = Client();  // takes the only place
  Mutex mu;
  int answered = 0, failed = 0;
  ListenerProbe probe(
      {.interval = std::chrono::milliseconds(1), .limit = std::chrono::seconds(20), .failures = 1},
      [&](const std::string& name, bool answers) {
        MutexLock lock(&mu);
        EXPECT_EQ(name, "http");
        ++(answers ? answered : failed);
      });
  probe.Add(server_->target());
  const auto await = [&](const int& count) {
    MutexLock lock(&mu);
    mu.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return count >= 3; });
  };
  await(answered);
  EXPECT_TRUE(probe.all_answer());
  EXPECT_EQ(failed, 0);
  shutdown(door, SHUT_RDWR);  // as if the listener had died: nobody gets in
  await(failed);
  probe.Stop();
  EXPECT_FALSE(probe.all_answer());
  server_.reset();
}

TEST_F(HttpServerTest, MoreThanTheLimitThatAskAreClosed) {
  Serve({.connections = {.total = 8, .per_peer = 2}});
  RawClient one = Client(), two = Client();
  one.Post("/", "");
  auto first = service_->Take();
  two.Post("/", "");
  auto second = service_->Take();
  RawClient three = Client();
  EXPECT_EQ(three.ReadToEnd(), "");
  EXPECT_THAT(Series(), HasSubstr("listener=\"http\",reason=\"peer\""));
  first.second->Send({});
  one.ReadAnswer();
  one.Close();
  second.second->Send({});
  two.ReadAnswer();
  RawClient four = Client();
  four.Get("/four");
  EXPECT_THAT(four.ReadAnswer(), EndsWith("/four"));
}

TEST_F(HttpServerTest, AShutdownLetsAnswersEndAndClosesTheRest) {
  Serve();
  RawClient idle = Client(), busy = Client();
  idle.Get("/a");
  idle.ReadAnswer();
  busy.Post("/", "");
  auto [body, reply] = service_->Take();
  server_->SetDraining();
  std::thread ends([&] { server_->Shutdown(std::chrono::seconds(60)); });
  EXPECT_EQ(idle.ReadToEnd(), "");
  reply->Send({.status = 200, .body = "busy"});
  EXPECT_THAT(busy.ReadToEnd(), EndsWith("busy"));
  busy.Close();
  idle.Close();
  ends.join();
}

TEST_F(HttpServerTest, AShutdownDoesNotWaitForWhoNeverEnds) {
  Serve();
  RawClient busy = Client();
  busy.Post("/", "");
  auto [body, reply] = service_->Take();
  server_->Shutdown(Duration(0));
  EXPECT_EQ(busy.ReadToEnd(), "");
  server_.reset();
  reply->Send({});  // late, and harmless
}

TEST_F(HttpServerTest, EveryAnswerHasTheFieldsOfItsRequest) {
  Serve({.request = {.body_bytes = 10}, .body = std::chrono::milliseconds(1)});
  RawClient client = Client();
  client.Get("/a");
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("\r\nasked: GET\r\n"));
  client.Post("/b", "");
  service_->Take().second->Event("x");
  EXPECT_THAT(client.ReadThrough("data: x"), HasSubstr("\r\nasked: POST\r\n"));
  RawClient large = Client(), slow = Client(), broken = Client();
  large.Send("PUT / HTTP/1.1\r\nContent-Length: 11\r\n\r\n");
  EXPECT_THAT(large.ReadToEnd(),
              testing::AllOf(StartsWith("HTTP/1.1 413 "), HasSubstr("\r\nasked: PUT\r\n")));
  slow.Send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_THAT(slow.ReadToEnd(),
              testing::AllOf(StartsWith("HTTP/1.1 408 "), HasSubstr("\r\nasked: POST\r\n")));
  broken.Send("GET\r\n\r\n");
  EXPECT_THAT(broken.ReadToEnd(), testing::AllOf(StartsWith("HTTP/1.1 400 "), HasSubstr("\r\nasked: \r\n")));
}

TEST_F(HttpServerTest, RequestsHaveTheNameThatTheClientGaveThem) {
  Serve();
  RawClient client = Client();
  client.Get("/a", "X-Request-Id: mine-7\r\n");
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("\r\nx-request-id: mine-7\r\n"));
  client.Get("/a");
  EXPECT_THAT(client.ReadAnswer(), testing::ContainsRegex("\r\nx-request-id: [0-9a-f]{32}\r\n"));
}

TEST(HttpServerBindTest, PlainTextIsNotForStrangers) {
  EXPECT_EQ(HttpServer::Bind("0.0.0.0:0", false).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(HttpServer::Bind("0.0.0.0:0", true).ok());
  EXPECT_EQ(HttpServer::Bind("nowhere", false).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hydrad
