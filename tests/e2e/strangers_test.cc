// What clients that mean ill, or do not read, can do to a daemon and to its other clients: little.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/admission/admission.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/fakes/http_get.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;

class StrangersTest : public testing::Test {
 protected:
  void Start(const std::vector<std::string>& more = {}) {
    const std::string tenants = testing::TempDir() + "/strangers_" + std::to_string(getpid()) + ".json";
    std::ofstream(tenants) << R"({"tenants": [{"name": "acme", "key_sha256": [")" << Sha256Hex("key-acme")
                           << R"("]}, {"name": "slow", "key_sha256": [")" << Sha256Hex("key-slow")
                           << R"("], "requests_per_second": 0.001, "burst": 2}]})";
    std::vector<std::string> arguments = {"--model",          "deploy/models/tiny",
                                          "--listen",         "127.0.0.1:0",
                                          "--admin-listen",   "127.0.0.1:0",
                                          "--metrics-listen", "127.0.0.1:0",
                                          "--lame-duck",      "0",
                                          "--threads",        "1",
                                          "--tenants",        tenants,
                                          "--audit-log",      "/dev/null"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    daemon_ = std::make_unique<DaemonProcess>(arguments);
    inference_ = daemon_->Address("inference");
    stub_ = v1::Inference::NewStub(Channel(inference_));
  }

  struct Call : grpc::ClientContext {
    explicit Call(const std::string& key) {
      if (!key.empty()) AddMetadata("authorization", "Bearer " + key);
    }
  };

  grpc::Status Tokenize(const std::string& key) {
    Call call(key);
    v1::TokenizeRequest request;
    request.set_text("one");
    v1::TokenizeResponse tokens;
    return stub_->Tokenize(&call, request, &tokens);
  }

  // The value of a line of /metrics without labels.
  double Metric(const std::string& name) {
    const std::string text = HttpGet(daemon_->Address("metrics"), "/metrics");
    const size_t at = text.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << name;
    return std::stod(text.substr(at + name.size() + 2));
  }
  double AwaitMetric(const std::string& name, double least) {
    double value = 0;
    while ((value = Metric(name)) < least) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return value;
  }

  std::unique_ptr<DaemonProcess> daemon_;
  std::string inference_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

// 64 MiB in 64 KiB, without a key: refused before it is inflated, and whoever sends no such thing is served.
TEST_F(StrangersTest, CompressedMessagesAreNotInflated) {
  Start();
  ASSERT_TRUE(Tokenize("key-acme").ok());
  const auto peak_kib = [&] {
    std::ifstream status("/proc/" + std::to_string(daemon_->pid()) + "/status");
    const std::string text{std::istreambuf_iterator<char>(status), {}};
    return std::stol(text.substr(text.find("VmHWM:") + 6));
  };
  const long before = peak_kib();
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    Call call("");
    call.set_compression_algorithm(algorithm);
    v1::TokenizeRequest request;
    request.set_text(std::string(64 << 20, 'a'));
    v1::TokenizeResponse tokens;
    const grpc::Status refused = stub_->Tokenize(&call, request, &tokens);
    EXPECT_EQ(refused.error_code(), StatusCode::UNIMPLEMENTED) << refused.error_message();
    EXPECT_THAT(refused.error_message(), HasSubstr("ompression"));
  }
  EXPECT_LT(peak_kib() - before, 32 << 10) << "KiB more at the peak";
  EXPECT_TRUE(Tokenize("key-acme").ok());
}

TEST_F(StrangersTest, StreamsThatNobodyReadsAreBoundedAndEndAndOthersAreServed) {
  Start({"--unread-per-tenant", "4MiB", "--reader-stall-timeout", "1"});
  grpc::ChannelArguments windows;  // that do not grow
  windows.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto unread = v1::Inference::NewStub(
      grpc::CreateCustomChannel(inference_, grpc::InsecureChannelCredentials(), windows));
  v1::GenerateRequest request = GreedyRequest(480);
  request.set_text("Once upon a time");
  request.mutable_output()->set_logprobs(20);
  std::vector<std::unique_ptr<Call>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>> readers;
  for (int i = 0; i < 40; ++i) {
    calls.push_back(std::make_unique<Call>("key-acme"));
    readers.push_back(unread->Generate(calls.back().get(), request));
  }
  EXPECT_TRUE(Tokenize("key-slow").ok());
  AwaitMetric("hydrad_stalled_readers_total", 20);
  // A message that was being added when it was looked at, and gRPC's copies, come on top.
  EXPECT_LT(Metric("hydrad_unread_output_bytes"), 5 << 20);
  Call other("key-slow");
  v1::GenerateResult result;
  request.mutable_output()->Clear();
  request.mutable_stopping()->set_max_tokens(5);
  const grpc::Status served = stub_->GenerateUnary(&other, request, &result);
  EXPECT_TRUE(served.ok()) << served.error_message();
  AwaitMetric("hydrad_stalled_readers_total", 35);
  for (const auto& reader : readers) {
    v1::GenerateResponse message;
    while (reader->Read(&message)) continue;
    const grpc::Status status = reader->Finish();
    if (!status.ok()) {
      EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    }
  }
  while (Metric("hydrad_unread_output_bytes") > 0)  // told now and then
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

TEST_F(StrangersTest, WrongKeysAreSlowedAndRightOnesAreNot) {
  Start();
  int slowed = 0;
  for (int i = 0; i < 200; ++i) {
    const grpc::Status status = Tokenize(i % 2 == 0 ? "wrong" : "");
    slowed += status.error_code() == StatusCode::RESOURCE_EXHAUSTED;
    if (status.error_code() != StatusCode::RESOURCE_EXHAUSTED) {
      EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
    }
  }
  EXPECT_GT(slowed, 0);
  EXPECT_TRUE(Tokenize("key-acme").ok());
  EXPECT_THAT(HttpGet(daemon_->Address("metrics"), "/metrics"),
              HasSubstr("hydrad_rejected_total{reason=\"auth_slowed\"} " + std::to_string(slowed) + "\n"));
}

TEST_F(StrangersTest, TokenizeCountsAgainstTheRate) {
  Start();
  EXPECT_TRUE(Tokenize("key-slow").ok());
  EXPECT_TRUE(Tokenize("key-slow").ok());
  EXPECT_EQ(Tokenize("key-slow").error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Tokenize("key-acme").ok());
}

TEST_F(StrangersTest, BytesThatAreNoMessageAreTheCallersMistakeAndFillNoLog) {
  Start();
  const auto send = [&](const std::string& address, const std::string& path, const std::string& bytes) {
    grpc::GenericStub stub(Channel(address));
    Call context("key-acme");
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::CompletionQueue queue;
    grpc::Status status;
    const auto call = stub.PrepareUnaryCall(&context, path, request, &queue);
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  };
  const std::vector<std::pair<const google::protobuf::Descriptor*, std::string>> services = {
      {v1::GenerateRequest::descriptor(), inference_},
      {v1::GetServerStatusRequest::descriptor(), daemon_->Address("admin")}};
  for (const auto& [any_message, address] : services) {
    const auto* service = any_message->file()->service(0);
    for (int i = 0; i < service->method_count(); ++i) {
      const std::string path = "/" + service->full_name() + "/" + service->method(i)->name();
      const grpc::Status status = send(address, path, "\xff\xff\xff");
      EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << path << ": " << status.error_message();
    }
  }
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(send(inference_, "/hydrad.v1.Inference/Tokenize", "\x0a\x02\xc3\x28").error_message(),
              "text must be UTF-8");
  }
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->Wait(), 0);
  EXPECT_THAT(daemon_->log(), HasSubstr("protobuf: "));
  EXPECT_THAT(daemon_->log(), Not(HasSubstr("[libprotobuf")));
}

}  // namespace
}  // namespace hydrad
