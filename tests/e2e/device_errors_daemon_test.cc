// The daemon on a device that fails in mid-traffic: tests/ptxsim takes the failure from a file that the test
// writes while streams run.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/fakes/http_get.h"

namespace hydrad {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
namespace health = grpc::health::v1;

constexpr int kStreams = 3, kFirstTokens = 8;

// The reason of the error's ErrorInfo; empty without one.
std::string ReasonIn(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

// A stream of many tokens.
class Stream {
 public:
  explicit Stream(v1::Inference::Stub& stub) {
    v1::GenerateRequest request = GreedyRequest(100);
    request.set_text("Once upon a time");
    request.mutable_output()->set_token_ids(true);
    reader_ = stub.Generate(&context_, request);
  }
  // Reads up to the `count`-th token; false if the stream ends before.
  bool ReadTokens(int count) {
    v1::GenerateResponse response;
    for (int tokens = 0; tokens < count; tokens += response.chunk().token_ids_size()) {
      if (!reader_->Read(&response)) return false;
    }
    return true;
  }
  // Reads to the end.
  grpc::Status Finish() {
    v1::GenerateResponse response;
    while (reader_->Read(&response)) {
    }
    return reader_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

class DeviceErrorsDaemon : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("LD_LIBRARY_PATH") == nullptr ||
        std::string(std::getenv("LD_LIBRARY_PATH")).find("ptxsim") == std::string::npos) {
      GTEST_SKIP() << "a device does not fail when it is told to";
    }
    std::filesystem::remove(file_);
  }
  // `limit`: seconds that a drain waits for, which the end of a lost device does not.
  static std::vector<std::string> Arguments(const std::string& device, const std::string& limit) {
    return {"--device",
            device,
            "--model",
            "deploy/models/tiny",
            "--max-context",
            "128",
            "--max-running",
            "8",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "",
            "--lame-duck",
            limit,
            "--drain-timeout",
            limit,
            "--threads",
            "1",
            "--metrics-listen",
            "127.0.0.1:0",
            "--adapter-device-memory",
            "1MiB"};
  }
  std::vector<std::string> Variables() const {
    return {"LD_LIBRARY_PATH=" + std::string(std::getenv("LD_LIBRARY_PATH")), "PTXSIM_CHECKS=off",
            "PTXSIM_FAIL_FILE=" + file_};
  }
  // At once for whoever looks.
  void Plan(const std::string& failure) const {
    std::ofstream(file_ + ".new") << failure;
    std::filesystem::rename(file_ + ".new", file_);
  }
  // Streams that are in the middle, in steps that are recorded and so fail whichever call of theirs does.
  static std::vector<std::unique_ptr<Stream>> Running(v1::Inference::Stub& stub) {
    std::vector<std::unique_ptr<Stream>> streams;
    for (int i = 0; i < kStreams; ++i) streams.push_back(std::make_unique<Stream>(stub));
    for (auto& stream : streams) EXPECT_TRUE(stream->ReadTokens(kFirstTokens));
    return streams;
  }
  const std::string file_ = testing::TempDir() + "hydrad_device_errors_" + std::to_string(getpid());
};

TEST_F(DeviceErrorsDaemon, ALostDeviceEndsTheDaemonInOrder) {
  DaemonProcess daemon(Arguments("cuda", "600"), Variables());
  const auto channel = Channel(daemon.Address("inference"));
  const auto stub = v1::Inference::NewStub(channel);
  grpc::ClientContext watching;
  health::HealthCheckRequest whole;
  const auto watch = health::Health::NewStub(channel)->Watch(&watching, whole);
  health::HealthCheckResponse state;
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), health::HealthCheckResponse::SERVING);

  const auto streams = Running(*stub);
  Plan("1:cudaErrorIllegalAddress:lost");
  for (const auto& stream : streams) {
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    EXPECT_EQ(ReasonIn(status), "DEVICE_LOST");
    EXPECT_THAT(status.error_message(), HasSubstr("an illegal memory access was encountered"));
  }
  while (state.status() == health::HealthCheckResponse::SERVING) {  // which may be told more than once
    ASSERT_TRUE(watch->Read(&state));
  }
  EXPECT_EQ(state.status(), health::HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(daemon.Wait(), 3) << daemon.log();
  EXPECT_THAT(daemon.log(), HasSubstr("the device is lost: "));
  EXPECT_THAT(daemon.log(), HasSubstr("drained"));
}

TEST_F(DeviceErrorsDaemon, AFailedStepEndsItsRequestsAndTheDaemonServesOn) {
  DaemonProcess daemon(Arguments("cuda", "0"), Variables());
  const auto channel = Channel(daemon.Address("inference"));
  const auto stub = v1::Inference::NewStub(channel);
  const std::vector<int> prompt = {5, 6, 7};
  const std::vector<int> before = Greedy(*stub, "", prompt, 4);

  const auto streams = Running(*stub);
  Plan("1:cudaErrorUnknown");
  for (const auto& stream : streams) {
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL) << status.error_message();
    EXPECT_EQ(ReasonIn(status), "DEVICE_ERROR");
  }
  EXPECT_EQ(Greedy(*stub, "", prompt, 4), before);
  grpc::ClientContext asking;
  health::HealthCheckResponse state;
  EXPECT_TRUE(health::Health::NewStub(channel)->Check(&asking, {}, &state).ok());
  EXPECT_EQ(state.status(), health::HealthCheckResponse::SERVING);
  const std::string scrape = HttpGet(daemon.Address("metrics"), "/metrics");
  EXPECT_THAT(scrape, HasSubstr("hydrad_device_errors_total{lost=\"step\"} 1\n"));
  EXPECT_THAT(scrape, HasSubstr("hydrad_device_errors_total{lost=\"device\"} 0\n"));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.log();
}

// Wherever the device fails while the daemon starts, it says so and ends; it does not serve on the CPU.
TEST_F(DeviceErrorsDaemon, ThatCannotStartSaysWhatFailed) {
  for (const int call : {1, 4, 30, 150, 300}) {
    for (const char* error : {"cudaErrorIllegalAddress:lost", "cudaErrorUnknown"}) {
      std::vector<std::string> variables = Variables();
      variables.push_back("PTXSIM_FAIL=" + std::to_string(call) + ":" + error);
      DaemonProcess daemon(Arguments("auto", "0"), variables);
      EXPECT_EQ(daemon.Wait(), 1) << call << " " << error << daemon.log();
      EXPECT_THAT(daemon.log(), HasSubstr("cannot start: ")) << call << " " << error;
      EXPECT_THAT(daemon.log(), AnyOf(HasSubstr("illegal memory access"), HasSubstr("unknown error"),
                                      HasSubstr("CUBLAS_STATUS")));
    }
  }
}

}  // namespace
}  // namespace hydrad
