#include "server/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/socket.h>

#include <thread>

#include "tests/fakes/made_certificate.h"
#include "tests/fakes/raw_http2.h"
#include "tests/rpc/served_fixture.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;

class ServerTest : public ServedFixture {
 protected:
  using ServedFixture::ServedFixture;

  absl::Status TryStart(const ServerOptions& options) {
    return Server::Start(options, *intake_, admins_, {}, [] {}).status();
  }
  static std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> Watch(Call& call, Health::Stub& stub,
                                                                        const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    return stub.Watch(&call, request);
  }
  // Reads until the watched service has this status.
  static void Await(grpc::ClientReader<HealthCheckResponse>& watch,
                    HealthCheckResponse::ServingStatus status) {
    HealthCheckResponse response;
    do {
      ASSERT_TRUE(watch.Read(&response)) << "the watch ended";
    } while (response.status() != status);
  }
  // Whether the inference listener describes its services.
  StatusCode CallReflection() {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call =
        stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
    };
    call->StartCall(nullptr);
    next();
    call->WritesDone(nullptr);
    next();
    grpc::Status status;
    call->Finish(&status, nullptr);
    next();
    return status.error_code();
  }
};

TEST_F(ServerTest, ReflectionIsOffUnlessAskedFor) {
  EXPECT_EQ(CallReflection(), StatusCode::UNIMPLEMENTED);
  server_.reset();
  ServerOptions options;
  options.reflection = true;
  Serve(options);
  EXPECT_EQ(CallReflection(), StatusCode::OK);
}

TEST_F(ServerTest, ReportsTheBoundPorts) {
  EXPECT_THAT(server_->address(), testing::MatchesRegex("127.0.0.1:[1-9][0-9]*"));
  EXPECT_THAT(server_->admin_address(), testing::MatchesRegex("127.0.0.1:[1-9][0-9]*"));
  EXPECT_NE(server_->address(), server_->admin_address());
}

TEST_F(ServerTest, ATakenPortIsAnErrorThatNamesIt) {
  ServerOptions options;
  options.listen = server_->address();
  const absl::Status status = TryStart(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(server_->address()));
  options.listen = "127.0.0.1:0";
  options.admin_listen = server_->address();
  EXPECT_EQ(TryStart(options).code(), absl::StatusCode::kUnavailable);
}

TEST_F(ServerTest, PlainTextIsNotServedToStrangersByAccident) {
  ServerOptions options;
  options.listen = "0.0.0.0:0";
  EXPECT_EQ(TryStart(options).code(), absl::StatusCode::kFailedPrecondition);
  options.listen = "127.0.0.1:0";
  options.admin_listen = "0.0.0.0:0";
  EXPECT_EQ(TryStart(options).code(), absl::StatusCode::kFailedPrecondition);
  options.allow_plaintext_public = true;
  EXPECT_TRUE(TryStart(options).ok());
  options.listen = "nonsense";
  EXPECT_EQ(TryStart(options).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ServerTest, ServesOnAUnixSocketAndWithoutAnAdminListener) {
  server_.reset();
  ServerOptions options;
  options.listen = "unix:" + testing::TempDir() + "/hydrad_" + std::to_string(getpid()) + ".sock";
  options.admin_listen = "";
  auto server = Server::Start(options, *intake_, admins_, {}, [] {});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->address(), options.listen);
  EXPECT_EQ((*server)->admin_address(), "");
  const auto stub =
      v1::Inference::NewStub(grpc::CreateChannel(options.listen, grpc::InsecureChannelCredentials()));
  Call call("key-acme");
  v1::ListModelsResponse models;
  const grpc::Status status = stub->ListModels(&call, {}, &models);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ServerTest, TheInferenceListenerKnowsNoAdmin) {
  const auto stub = v1::Admin::NewStub(channel_);
  Call call("key-admin");
  v1::ServerStatus status;
  EXPECT_EQ(stub->GetServerStatus(&call, {}, &status).error_code(), StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerTest, AMessageBeyondTheBoundIsRefusedUnread) {
  Call call("key-acme");
  v1::TokenizeRequest request;
  request.set_text(std::string(5 << 20, 'x'));
  v1::TokenizeResponse tokens;
  EXPECT_EQ(inference_->Tokenize(&call, request, &tokens).error_code(), StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServerTest, TheLongestHeaderOfAProxyEndsNobodysCall) {
  RawConnection proxy(server_->address());
  ASSERT_TRUE(proxy.Greet());
  const std::string method = "/hydrad.v1.Inference/Generate";
  v1::GenerateRequest ask = Ask("x");
  ASSERT_TRUE(proxy.Send(RawConnection::CallHead(1, method, {{"authorization", "Bearer key-globex"}}) +
                         RawConnection::CallBody(1, ask.SerializeAsString())));
  Request neighbour = scheduler_.Take();
  RawConnection::Headers long_headers = {{"authorization", "Bearer key-globex"}};
  for (int i = 0; i < 64; ++i) long_headers.push_back({"x-" + std::to_string(i), std::string(1000, 'x')});
  ASSERT_TRUE(proxy.Send(RawConnection::CallHead(3, "/hydrad.v1.Inference/ListModels", long_headers) +
                         RawConnection::CallBody(3, "")));
  ASSERT_TRUE(proxy.AwaitEnd(3));
  neighbour.sink->OnStart({});
  neighbour.sink->OnPiece(Piece("a", {}, true));
  neighbour.sink->OnDone(absl::OkStatus(), {});
  EXPECT_TRUE(proxy.AwaitEnd(1)) << "the connection ended with the long call";
}

TEST_F(ServerTest, TheLongestTimeoutOfTheProtocolIsNoneAtAll) {
  RawConnection client(server_->address());
  ASSERT_TRUE(client.Greet());
  ASSERT_TRUE(client.Send(
      RawConnection::CallHead(1, "/hydrad.v1.Inference/Generate",
                              {{"authorization", "Bearer key-globex"}, {"grpc-timeout", "99999999H"}}) +
      RawConnection::CallBody(1, Ask("x").SerializeAsString())));
  Request request = scheduler_.Take();
  EXPECT_EQ(request.deadline, std::nullopt);
  request.sink->OnDone(absl::OkStatus(), {});
  EXPECT_TRUE(client.AwaitEnd(1));
}

TEST_F(ServerTest, APeerIsNamedAsGrpcNamesIt) {
  Call wrong("nobody's");
  v1::ListModelsResponse models;
  EXPECT_EQ(inference_->ListModels(&wrong, {}, &models).error_code(), StatusCode::UNAUTHENTICATED);
  const std::vector<nlohmann::json> lines = AuditLines();
  ASSERT_FALSE(lines.empty());
  EXPECT_THAT(lines.back()["peer"].get<std::string>(), testing::MatchesRegex("ipv4:127.0.0.1:[0-9]+"));
}

// Listeners that few may connect to.
class CrowdedServerTest : public ServerTest {
 protected:
  static ServerOptions Few() {
    ServerOptions options;
    options.connections = {.total = 4, .per_peer = 4};
    options.probe.interval = std::chrono::hours(1);  // leaves the places to the test
    return options;
  }
  CrowdedServerTest() : ServerTest(Few()) {}
  std::vector<RawConnection> Connect(int count) const {
    std::vector<RawConnection> out;
    for (int i = 0; i < count; ++i) out.emplace_back(server_->address());
    return out;
  }
  grpc::Status List() {
    Call call("key-acme");
    call.set_wait_for_ready(true);
    v1::ListModelsResponse models;
    return inference_->ListModels(&call, {}, &models);
  }
};

TEST_F(CrowdedServerTest, WhoIsSilentMakesRoomForWhoSpeaks) {
  std::vector<RawConnection> silent = Connect(20);
  EXPECT_TRUE(List().ok());
  silent.front().AwaitClose();
}

TEST_F(CrowdedServerTest, BeyondTheLimitConnectionsAreClosedAndPlacesComeBack) {
  std::vector<RawConnection> busy = Connect(4);
  for (size_t i = 0; i < busy.size(); ++i) {
    ASSERT_TRUE(busy[i].Greet());
    ASSERT_TRUE(busy[i].Send(RawConnection::CallHead(1, "/hydrad.v1.Inference/ListModels", {}) +
                             RawConnection::CallBody(1, "")));
    ASSERT_TRUE(busy[i].AwaitEnd(1));
  }
  RawConnection one_more(server_->address());
  one_more.AwaitClose();
  busy.clear();
  EXPECT_TRUE(List().ok());
}

TEST_F(CrowdedServerTest, WhatIsNotHttp2IsClosedUnheard) {
  RawConnection stranger(server_->address());
  ASSERT_TRUE(stranger.Send("GET / HTTP/1.1\r\n\r\n"));
  stranger.AwaitClose();
  EXPECT_TRUE(List().ok());
}

TEST_F(ServerTest, WithTlsOnlyAWholeHelloIsHeard) {
  const MadeCertificate authority = MakeAuthority(), own = MakeCertificate(authority);
  const CertificateHolder certificates(
      {.chain = own.certificate, .key = own.key, .client_ca = "", .until = ""});
  server_.reset();
  ServerOptions options;
  options.certificates = &certificates;
  options.silence = std::chrono::milliseconds(200);
  Serve(options);
  const std::string hello("\x16\x03\x01\x01\x00\x01", 6);  // a record of 256 bytes of which one is there
  for (const std::string& said : {std::string(), std::string("\x16"), hello, hello + std::string(254, '\0'),
                                  std::string("\x16\x03\x01\xff\xff", 5),
                                  std::string("GET / HTTP/1.1\r\n\r\n"), hello + std::string(1000, '\0')}) {
    RawConnection stranger(server_->address());
    ASSERT_TRUE(stranger.Send(said));
    stranger.AwaitClose();
  }
  channel_ = grpc::CreateChannel(server_->address(), grpc::SslCredentials({authority.certificate, "", ""}));
  inference_ = v1::Inference::NewStub(channel_);
  Call call("key-acme");
  call.set_wait_for_ready(true);  // where the machine takes longer than that to shake hands
  v1::ListModelsResponse models;
  const grpc::Status status = inference_->ListModels(&call, {}, &models);
  EXPECT_TRUE(status.ok()) << status.error_message();
  inference_.reset();
  channel_.reset();
  server_.reset();
}

TEST_F(ServerTest, WhoConnectsBeforeItServesIsServedThen) {
  const ServerOptions options;
  std::optional<ServerSockets> sockets = *Server::Bind(options);
  RawConnection early(sockets->inference.address());
  ASSERT_TRUE(early.Greet());
  ASSERT_TRUE(early.Send(RawConnection::CallHead(1, "/hydrad.v1.Inference/ListModels", {}) +
                         RawConnection::CallBody(1, "")));
  auto server = Server::Start(
      options, *intake_, admins_, {}, [] {}, std::move(sockets));
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(early.AwaitEnd(1));
}

TEST_F(ServerTest, AListenerThatDoesNotAnswerIsTold) {
  server_.reset();
  ServerOptions options;
  options.probe = {
      .interval = std::chrono::milliseconds(1), .limit = std::chrono::seconds(20), .failures = 1};
  std::optional<ServerSockets> sockets = *Server::Bind(options);
  const int deaf = sockets->inference.sockets().front().get();
  options.health.interval = std::chrono::milliseconds(1);
  auto server = Server::Start(
      options, *intake_, admins_, {}, [] {}, std::move(sockets));
  ASSERT_TRUE(server.ok()) << server.status();
  Health::Stub stub(grpc::CreateChannel((*server)->admin_address(), grpc::InsecureChannelCredentials()));
  Call call;
  const auto live = Watch(call, stub, "liveness");
  Await(*live, HealthCheckResponse::SERVING);
  shutdown(deaf, SHUT_RDWR);  // as if the acceptor had died: nobody gets in
  Await(*live, HealthCheckResponse::NOT_SERVING);
  call.TryCancel();
}

TEST_F(ServerTest, EveryNameOfHealthIsKnown) {
  Health::Stub stub(channel_), admin(admin_channel_);
  for (const char* service : {"", "liveness", "readiness", "hydrad.v1.Inference", "hydrad.v1.Admin"}) {
    Call a, b;
    Await(*Watch(a, stub, service), HealthCheckResponse::SERVING);
    a.TryCancel();
    Await(*Watch(b, admin, service), HealthCheckResponse::SERVING);
    b.TryCancel();
  }
  Call call;
  HealthCheckRequest request;
  request.set_service("nobody");
  HealthCheckResponse response;
  EXPECT_EQ(stub.Check(&call, request, &response).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(ServerTest, AStaleHeartbeatIsNotServing) {
  Health::Stub stub(channel_);
  Call live_call, ready_call;
  const auto live = Watch(live_call, stub, "liveness");
  const auto ready = Watch(ready_call, stub, "readiness");
  Await(*live, HealthCheckResponse::SERVING);
  Await(*ready, HealthCheckResponse::SERVING);
  SchedulerStatus status;
  status.since_heartbeat = HealthOptions().heartbeat_limit + std::chrono::seconds(1);
  scheduler_.SetStatus(status);
  Await(*live, HealthCheckResponse::NOT_SERVING);
  Await(*ready, HealthCheckResponse::NOT_SERVING);
  scheduler_.SetStatus({});
  Await(*live, HealthCheckResponse::SERVING);
  Await(*ready, HealthCheckResponse::SERVING);
  live_call.TryCancel();
  ready_call.TryCancel();
}

TEST_F(ServerTest, DrainingIsLiveButNotReady) {
  Health::Stub stub(channel_);
  Call call;
  const auto ready = Watch(call, stub, "hydrad.v1.Inference");
  Await(*ready, HealthCheckResponse::SERVING);
  server_->SetDraining();
  Await(*ready, HealthCheckResponse::NOT_SERVING);
  call.TryCancel();
  for (const auto& [service, expected] : {std::pair{"", HealthCheckResponse::NOT_SERVING},
                                          std::pair{"readiness", HealthCheckResponse::NOT_SERVING},
                                          std::pair{"liveness", HealthCheckResponse::SERVING}}) {
    Call check;
    Await(*Watch(check, stub, service), expected);
    check.TryCancel();
  }
  Call list("key-acme");
  v1::ListModelsResponse models;
  EXPECT_TRUE(inference_->ListModels(&list, {}, &models).ok()) << "calls are still served";
}

TEST_F(ServerTest, ShutdownLetsARunningCallEndAndIsIdempotent) {
  Call call("key-acme");
  const auto reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  std::thread shutdown([this] { server_->Shutdown(std::chrono::hours(1)); });
  request.sink->OnStart({});
  request.sink->OnPiece(Piece("a", {}, true));
  request.sink->OnDone(absl::OkStatus(), {});
  int messages = 0;
  for (v1::GenerateResponse message; reader->Read(&message);) ++messages;
  EXPECT_EQ(messages, 3);
  EXPECT_TRUE(FinishOf(*reader).ok());
  shutdown.join();
  server_->Shutdown(Duration(0));
}

TEST_F(ServerTest, ShutdownCancelsWhatDoesNotEndInTime) {
  Call call("key-acme");
  const auto reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  std::thread shutdown([this] { server_->Shutdown(Duration(0)); });
  const auto [id, why] = scheduler_.TakeCancel();
  EXPECT_EQ(id, request.id);
  request.sink->OnDone(why, {});
  EXPECT_FALSE(FinishOf(*reader).ok());
  shutdown.join();
}

}  // namespace
}  // namespace hydrad
