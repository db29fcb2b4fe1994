// The daemon as its operator meets it: flags, the ready line, signals, exit codes.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>

#include "grpc/health/v1/health.grpc.pb.h"
#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/admission/admission.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::MatchesRegex;

const std::vector<std::string> kTiny = {"--model",          "deploy/models/tiny",
                                        "--listen",         "127.0.0.1:0",
                                        "--admin-listen",   "127.0.0.1:0",
                                        "--metrics-listen", "",
                                        "--lame-duck",      "0",
                                        "--threads",        "1"};

std::vector<std::string> Tiny(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = kTiny;
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

v1::GenerateRequest Ask(int max_tokens) {
  v1::GenerateRequest request = GreedyRequest(max_tokens);
  request.set_text("Once upon a time");
  return request;
}

// A stream that has begun.
struct Stream {
  Stream(const std::string& address, int max_tokens) : stub(v1::Inference::NewStub(Channel(address))) {
    reader = stub->Generate(&context, Ask(max_tokens));
    began = reader->Read(&message);
  }
  grpc::Status Finish() {
    while (reader->Read(&message)) continue;
    return reader->Finish();
  }
  std::unique_ptr<v1::Inference::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  v1::GenerateResponse message;  // the last one read
  bool began = false;
};

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

int Lines(const std::string& text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

TEST(DaemonTest, SaysWhereItListensAndServes) {
  DaemonProcess daemon(Tiny({"--metrics-listen", "127.0.0.1:0"}));
  const std::string ready = daemon.AwaitLine("ready: ");
  EXPECT_THAT(ready,
              MatchesRegex(".*ready: inference 127.0.0.1:[1-9][0-9]* admin 127.0.0.1:[1-9][0-9]* metrics "
                           "127.0.0.1:[1-9][0-9]* http 127.0.0.1:[1-9][0-9]* model tiny"))
      << daemon.log();
}

TEST(DaemonTest, GeneratesAndDrainsOnSigterm) {
  DaemonProcess daemon(kTiny);
  Stream stream(daemon.Address("inference"), 400);
  ASSERT_TRUE(stream.began) << daemon.log();
  daemon.Signal(SIGTERM);
  daemon.AwaitLine("draining");
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(stream.message.end().usage().generated_tokens(), 400);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.log();
  EXPECT_THAT(daemon.log(), HasSubstr("drained"));
}

// A penalty that takes the logits of what was seen out of a float's range keeps their order.
TEST(DaemonTest, TheLeastPenaltiesAreAnswered) {
  DaemonProcess daemon(kTiny);
  const auto stub = v1::Inference::NewStub(Channel(daemon.Address("inference")));
  const auto tokens = [&](float penalty, float temperature, float top_p) {
    v1::GenerateRequest request = Ask(8);
    request.mutable_output()->set_token_ids(true);
    request.mutable_sampling()->set_repetition_penalty(penalty);
    request.mutable_sampling()->set_temperature(temperature);
    request.mutable_sampling()->set_top_p(top_p);
    grpc::ClientContext context;
    v1::GenerateResult result;
    const grpc::Status status = stub->GenerateUnary(&context, request, &result);
    EXPECT_TRUE(status.ok()) << penalty << ": " << status.error_message();
    if (result.choices().empty()) return std::vector<int>();
    return std::vector<int>(result.choices(0).token_ids().begin(), result.choices(0).token_ids().end());
  };
  const std::vector<int> want = tokens(1e-6f, 0, 1);
  EXPECT_EQ(want.size(), 8u);
  for (const float penalty : {1e-39f, 1e-45f}) {
    EXPECT_EQ(tokens(penalty, 0, 1), want) << penalty;
    EXPECT_EQ(tokens(penalty, 1, 0.5f), want) << penalty;
  }
}

TEST(DaemonTest, SigintIsTheSame) {
  DaemonProcess daemon(kTiny);
  daemon.AwaitLine("ready: ");
  daemon.Signal(SIGINT);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.log();
}

TEST(DaemonTest, WhatDoesNotEndWithinTheLimitIsCancelled) {
  DaemonProcess daemon(Tiny({"--drain-timeout", "0"}));
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(std::make_unique<Stream>(daemon.Address("inference"), 480));
  daemon.Signal(SIGTERM);
  int cancelled = 0;
  for (const auto& stream : streams) cancelled += stream->Finish().error_code() == StatusCode::UNAVAILABLE;
  EXPECT_GT(cancelled, 0);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.log();
}

TEST(DaemonTest, NotServingDuringTheLameDuckWhichASecondSignalEnds) {
  DaemonProcess daemon(Tiny({"--lame-duck", "3600"}));
  const auto health = grpc::health::v1::Health::NewStub(Channel(daemon.Address("inference")));
  grpc::ClientContext context;
  const auto watch = health->Watch(&context, {});
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  daemon.Signal(SIGTERM);
  while (response.status() != grpc::health::v1::HealthCheckResponse::NOT_SERVING) {
    ASSERT_TRUE(watch->Read(&response));
  }
  Stream stream(daemon.Address("inference"), 3);
  EXPECT_TRUE(stream.Finish().ok()) << "calls are served while balancers take notice";
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 128 + SIGTERM);
}

TEST(DaemonTest, TenantsNeedTheirKeys) {
  const std::string tenants =
      WriteFile("hydrad_daemon_tenants.json", R"({"tenants": [{"name": "acme", "key_sha256": [")" +
                                                  Sha256Hex("secret") + R"("], "adapters": ["*"]}]})");
  DaemonProcess daemon(Tiny({"--tenants", tenants, "--admin-key-sha256", Sha256Hex("root")}));
  const auto stub = v1::Inference::NewStub(Channel(daemon.Address("inference")));
  const auto admin = v1::Admin::NewStub(Channel(daemon.Address("admin")));
  v1::GenerateResult result;
  v1::ServerStatus status;
  grpc::ClientContext none, key, wrong_admin, right_admin;
  EXPECT_EQ(stub->GenerateUnary(&none, Ask(3), &result).error_code(), StatusCode::UNAUTHENTICATED);
  key.AddMetadata("authorization", "Bearer secret");
  EXPECT_TRUE(stub->GenerateUnary(&key, Ask(3), &result).ok());
  wrong_admin.AddMetadata("authorization", "Bearer secret");
  EXPECT_EQ(admin->GetServerStatus(&wrong_admin, {}, &status).error_code(), StatusCode::UNAUTHENTICATED);
  right_admin.AddMetadata("authorization", "Bearer root");
  EXPECT_TRUE(admin->GetServerStatus(&right_admin, {}, &status).ok());
  EXPECT_EQ(status.base_model(), "tiny");
  EXPECT_EQ(status.max_context(), 512);
}

TEST(DaemonTest, VariablesConfigureItToo) {
  DaemonProcess daemon(
      {}, {"HYDRAD_MODEL=deploy/models/tiny", "HYDRAD_LISTEN=127.0.0.1:0", "HYDRAD_ADMIN_LISTEN=127.0.0.1:0",
           "HYDRAD_METRICS_LISTEN=", "HYDRAD_MAX_CONTEXT=64", "HYDRAD_WEIGHTS=f32"});
  EXPECT_EQ(daemon.Address("metrics"), "none");
  const auto admin = v1::Admin::NewStub(Channel(daemon.Address("admin")));
  grpc::ClientContext context;
  v1::ServerStatus status;
  ASSERT_TRUE(admin->GetServerStatus(&context, {}, &status).ok()) << daemon.log();
  EXPECT_EQ(status.max_context(), 64);
  EXPECT_EQ(status.weight_type(), "f32");
}

TEST(DaemonTest, AMistakeIsOneLineAndCode2) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"--no-such-flag"},
        Tiny({"--threads", "-3"}),
        Tiny({"--weights", "int4"}),
        Tiny({"--config", WriteFile("hydrad_daemon_bad.toml", "listne = \"x:1\"\n")})}) {
    DaemonProcess daemon(arguments);
    EXPECT_EQ(daemon.Wait(), 2) << daemon.log();
    EXPECT_EQ(Lines(daemon.log()), 1) << daemon.log();
    EXPECT_THAT(daemon.log(), testing::StartsWith("hydrad: "));
  }
}

TEST(DaemonTest, AStartThatFailsIsOneLineAndCode1) {
  DaemonProcess first(kTiny);
  const std::string taken = first.Address("inference");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--model", "/no/such/model"}, "/no/such/model"},
      {Tiny({"--listen", taken}), taken},
      {Tiny({"--listen", "0.0.0.0:0"}), "--allow-plaintext-public"},
      {Tiny({"--admin-listen", "0.0.0.0:0"}), "--allow-plaintext-public"},
      {Tiny({"--metrics-listen", "127.0.0.1"}), "HOST:PORT"},
      {Tiny({"--metrics-listen", taken}), taken},
      {Tiny({"--metrics-listen", "0.0.0.0:0"}), "--allow-plaintext-public"},
      {Tiny({"--tenants", "/no/such/tenants"}), "/no/such/tenants"},
      {Tiny({"--tenants", WriteFile("hydrad_daemon_bad.json", "{\"tenants\": 3}")}), "tenants"},
      {Tiny({"--max-context", "513"}), "--max-context"},
      {Tiny({"--kv-cache-memory", "1KiB"}), "--kv-cache-memory"},
      {Tiny({"--admin-listen", "0.0.0.0:0", "--allow-plaintext-public"}), "--admin-key-sha256"},
      {Tiny({"--adapter-root", "/no/such/root"}), "/no/such/root"},
      {Tiny({"--adapter-root", "deploy/models", "--adapter", "a=nowhere"}), "a=nowhere"},
      {Tiny({"--audit-log", "/no/such/directory/log"}), "/no/such/directory/log"}};
  for (const auto& [arguments, named] : cases) {
    DaemonProcess daemon(arguments);
    EXPECT_EQ(daemon.Wait(), 1) << daemon.log();
    const size_t error = daemon.log().find("cannot start: ");
    ASSERT_NE(error, std::string::npos) << daemon.log();
    EXPECT_EQ(Lines(daemon.log().substr(error)), 1) << daemon.log();
    EXPECT_THAT(daemon.log().substr(error), HasSubstr(named));
    if (named == taken) {
      EXPECT_THAT(daemon.log(), testing::Not(HasSubstr("KV cache"))) << "loaded first";
    }
  }
}

TEST(DaemonTest, TheConfigurationCanBeCheckedAndPrinted) {
  DaemonProcess good(Tiny({"--check-config"}));
  EXPECT_EQ(good.Wait(), 0) << good.log();
  EXPECT_EQ(good.output(), "configuration ok\n");
  DaemonProcess bad(Tiny({"--check-config", "--listen", "0.0.0.0:1"}));
  EXPECT_EQ(bad.Wait(), 1);
  EXPECT_EQ(Lines(bad.log()), 1) << bad.log();
  DaemonProcess print(Tiny({"--print-config"}));
  EXPECT_EQ(print.Wait(), 0) << print.log();
  EXPECT_THAT(print.output(), HasSubstr("model=\"deploy/models/tiny\""));
  EXPECT_THAT(print.output(), HasSubstr("max-waiting=1024"));
}

TEST(DaemonTest, VersionAndHelpGoToStdout) {
  DaemonProcess version({"--version"});
  EXPECT_EQ(version.Wait(), 0);
  EXPECT_THAT(version.output(), MatchesRegex("hydrad [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  DaemonProcess help({"--help"});
  EXPECT_EQ(help.Wait(), 0);
  EXPECT_THAT(help.output(), HasSubstr("--drain-timeout"));
}

}  // namespace
}  // namespace hydrad
