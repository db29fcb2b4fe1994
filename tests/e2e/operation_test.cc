// The daemon when its surroundings are unkind: floods, signals, limits of the system, threads that hang.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/admission/admission.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/fakes/http_get.h"
#include "tests/fakes/raw_http2.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

std::vector<std::string> Tiny(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {
      "--model",          "deploy/models/tiny", "--listen",    "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
      "--metrics-listen", "127.0.0.1:0",        "--lame-duck", "0",           "--threads",      "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// What the shell does before it becomes the daemon.
std::vector<std::string> After(const std::string& command) {
  return {"/bin/sh", "-c", command + R"(; exec "$@")", "sh"};
}

StatusCode Generate(const std::string& address, const std::string& key = "") {
  const auto stub = v1::Inference::NewStub(Channel(address));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  v1::GenerateRequest request = GreedyRequest(3);
  request.set_text("Once upon a time");
  v1::GenerateResult result;
  return stub->GenerateUnary(&context, request, &result).error_code();
}

StatusCode AskStatus(const std::string& address) {
  const auto stub = v1::Admin::NewStub(Channel(address));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::ServerStatus status;
  return stub->GetServerStatus(&context, {}, &status).error_code();
}

TEST(OperationTest, AFloodOfSilentConnectionsKeepsNobodyOut) {
  DaemonProcess daemon(Tiny(), {}, After("ulimit -n 256"));
  const std::string inference = daemon.Address("inference"), admin = daemon.Address("admin");
  ASSERT_NE(inference, "") << daemon.log();
  std::vector<RawConnection> flood;
  for (int i = 0; i < 300; ++i) {
    flood.emplace_back(inference);
    flood.emplace_back(admin);
  }
  EXPECT_EQ(Generate(inference), StatusCode::OK);
  EXPECT_EQ(AskStatus(admin), StatusCode::OK);
  const std::string metrics = HttpGet(daemon.Address("metrics"), "/metrics");
  EXPECT_THAT(metrics,
              HasSubstr(R"(hydrad_connections_refused_total{listener="inference",reason="silent"})"));
  EXPECT_THAT(metrics, HasSubstr(R"(hydrad_connections{listener="admin"})"));
}

TEST(OperationTest, RunningOutOfDescriptorsIsSurvived) {
  DaemonProcess daemon(Tiny());
  const std::string inference = daemon.Address("inference"), admin = daemon.Address("admin");
  EXPECT_EQ(Generate(inference), StatusCode::OK) << daemon.log();
  rlimit before{};
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  const rlimit none = {3, before.rlim_max};
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_NOFILE, &none, nullptr), 0);
  const RawConnection one(inference), other(admin);
  EXPECT_NE(daemon.AwaitLine("connections cannot be accepted: Too many open files"), "");
  EXPECT_NE(daemon.AwaitLine("connections cannot be accepted: Too many open files"), "")
      << "the other listener";
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  EXPECT_EQ(Generate(inference), StatusCode::OK);
  EXPECT_EQ(AskStatus(admin), StatusCode::OK);
  EXPECT_THAT(HttpGet(daemon.Address("metrics"), "/metrics"),
              HasSubstr(R"(hydrad_accept_failures_total{error="EMFILE",listener="inference"})"));
}

TEST(OperationTest, ASocketFileThatIsServedIsNotTaken) {
  const std::string path = testing::TempDir() + "/hydrad_operation_" + std::to_string(getpid()) + ".sock";
  const std::vector<std::string> arguments = Tiny({"--listen", "unix:" + path});
  DaemonProcess first(arguments);
  ASSERT_EQ(first.Address("inference"), "unix:" + path) << first.log();
  DaemonProcess second(arguments);
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.log(), HasSubstr("another process serves it"));
  EXPECT_EQ(Generate("unix:" + path), StatusCode::OK);
  first.Signal(SIGKILL);
  EXPECT_EQ(first.Wait(), 1000 + SIGKILL);
  DaemonProcess third(arguments);
  EXPECT_EQ(third.Address("inference"), "unix:" + path) << third.log();
}

class ReloadTest : public testing::Test {
 protected:
  const std::string path_ =
      testing::TempDir() + "/hydrad_operation_tenants_" + std::to_string(getpid()) + ".json";
  void WriteKey(const std::string& key) const {
    std::ofstream(path_) << R"({"tenants": [{"name": "acme", "key_sha256": [")" + Sha256Hex(key) +
                                R"("], "adapters": ["*"]}]})";
  }
};

TEST_F(ReloadTest, AHangUpBringsNewKeysAndAMistakeBringsNothing) {
  WriteKey("old");
  DaemonProcess daemon(Tiny({"--tenants", path_}));
  const std::string inference = daemon.Address("inference");
  EXPECT_EQ(Generate(inference, "old"), StatusCode::OK) << daemon.log();
  WriteKey("new");
  daemon.Signal(SIGHUP);
  EXPECT_NE(daemon.AwaitLine("reloaded: 1 tenants"), "");
  EXPECT_EQ(Generate(inference, "old"), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Generate(inference, "new"), StatusCode::OK);
  std::ofstream(path_) << "{}";
  daemon.Signal(SIGHUP);
  EXPECT_NE(daemon.AwaitLine("not reloaded"), "");
  EXPECT_EQ(Generate(inference, "new"), StatusCode::OK);
  EXPECT_THAT(HttpGet(daemon.Address("metrics"), "/metrics"),
              HasSubstr("hydrad_config_last_reload_successful 0"));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_THAT(daemon.log(), HasSubstr("server.reload"));
}

TEST(OperationTest, NoSignalOfATimerATerminalOrAToolEndsIt) {
  DaemonProcess daemon(Tiny());
  const std::string inference = daemon.Address("inference");
  for (const int number : {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGPIPE, SIGXCPU,
                           SIGXFSZ, SIGRTMIN, SIGRTMIN + 2, SIGRTMAX}) {
    daemon.Signal(number);
  }
  EXPECT_EQ(Generate(inference), StatusCode::OK) << daemon.log();
  daemon.Signal(SIGQUIT);
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_THAT(daemon.log(), HasSubstr("drained"));
}

TEST(OperationTest, ACrashLeavesALineAndABacktrace) {
  DaemonProcess daemon(Tiny());
  daemon.Address("inference");
  daemon.Signal(SIGSEGV);
  EXPECT_EQ(daemon.Wait(), 1000 + SIGSEGV);
  EXPECT_THAT(daemon.log(), HasSubstr("crash: signal 11 (SIGSEGV) in thread"));
  EXPECT_THAT(daemon.log(), testing::ContainsRegex("hydrad.*\\+0x[0-9a-f]+"));
}

// The thread of that name; 0 if there is none.
pid_t ThreadOf(pid_t process, const std::string& name) {
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::string comm;
    std::getline(std::ifstream(entry.path() / "comm") >> std::ws, comm);
    if (comm == name) return static_cast<pid_t>(std::stoi(entry.path().filename()));
  }
  return 0;
}

TEST(OperationTest, ASchedulerThatHangsIsToldAndKeepsNobodyFromEnding) {
  DaemonProcess daemon(Tiny({"--stall-limit", "2", "--drain-timeout", "0"}));
  daemon.Address("inference");
  const pid_t scheduler = ThreadOf(daemon.pid(), "scheduler");
  ASSERT_GT(scheduler, 0);
  if (ptrace(PTRACE_SEIZE, scheduler, nullptr, nullptr) != 0) GTEST_SKIP() << "ptrace is not allowed here";
  ptrace(PTRACE_INTERRUPT, scheduler, nullptr, nullptr);
  int status = 0;
  ASSERT_EQ(waitpid(scheduler, &status, __WALL), scheduler);
  EXPECT_THAT(daemon.AwaitLine("the scheduler has not come round for"), HasSubstr("state t"));
  EXPECT_THAT(HttpGet(daemon.Address("metrics"), "/metrics"),
              testing::ContainsRegex("hydrad_scheduler_heartbeat_age_seconds [1-9]"));
  daemon.Signal(SIGTERM);
  EXPECT_THAT(daemon.AwaitLine("ending at once"), HasSubstr("drain of the scheduler"));
  while (waitpid(scheduler, &status, __WALL) == scheduler && !WIFEXITED(status) && !WIFSIGNALED(status)) {
    ptrace(PTRACE_CONT, scheduler, nullptr, nullptr);
  }
  EXPECT_EQ(daemon.Wait(), 124);
}

TEST(OperationTest, TooLittleOfTheSystemIsSaidBeforeAnythingIsLoaded) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"ulimit -v 1500000", "address space is 1464 MiB"}, {"ulimit -n 128", "limit on open files is 128"}};
  for (const auto& [command, named] : cases) {
    DaemonProcess daemon(Tiny(), {}, After(command));
    EXPECT_EQ(daemon.Wait(), 1) << daemon.log();
    EXPECT_THAT(daemon.log(), HasSubstr("cannot start: the limit on"));
    EXPECT_THAT(daemon.log(), HasSubstr(named));
    EXPECT_THAT(daemon.log(), testing::Not(HasSubstr("KV cache")));
  }
}

}  // namespace
}  // namespace hydrad
