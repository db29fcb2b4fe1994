// TLS through the front door: the daemon, hydractl and the client library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "client/hydractl/hydractl.h"
#include "client/hydrad_client.h"
#include "server/admission/admission.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/fakes/http_get.h"
#include "tests/fakes/made_certificate.h"
#include "tests/fakes/raw_http2.h"

namespace hydrad {
namespace {

using absl::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

class TlsTest : public testing::Test {
 protected:
  TlsTest() { KeepGrpc(); }

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = testing::TempDir() + "/hydrad_tls_" + std::to_string(getpid()) + "_" + name;
    std::ofstream(path) << text;
    return path;
  }
  // The daemon's own certificate, in the files that its options name.
  void Show(const MadeCertificate& own) const {
    Write("cert", own.certificate);
    Write("key", own.key);
  }
  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> out = {"--model",          "deploy/models/tiny",
                                    "--listen",         "127.0.0.1:0",
                                    "--admin-listen",   "127.0.0.1:0",
                                    "--metrics-listen", "127.0.0.1:0",
                                    "--http-listen",    "127.0.0.1:0",
                                    "--lame-duck",      "0",
                                    "--threads",        "1",
                                    "--tls-cert",       Write("cert", own_.certificate),
                                    "--tls-key",        Write("key", own_.key)};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  void Start(const std::vector<std::string>& more = {}) {
    daemon_.emplace(Arguments(more));
    inference_ = daemon_->Address("inference");
    admin_ = daemon_->Address("admin");
    ASSERT_NE(inference_, "") << daemon_->log();
  }
  std::string Metrics() { return HttpGet(daemon_->Address("metrics"), "/metrics"); }

  // What a new connection to the inference listener gets.
  StatusCode Ask(const std::optional<TlsOptions>& tls) const {
    return Client(Connection(inference_, tls))
        .ListModels({.timeout = std::chrono::minutes(1)})
        .status()
        .code();
  }
  // hydractl's exit code; what it says is in output_.
  int Hydractl(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--server", inference_, "--admin", admin_});
    std::istringstream in;
    std::ostringstream out;
    const int code = RunHydractl(std::move(arguments), in, out, out);
    output_ = out.str();
    return code;
  }

  const MadeCertificate authority_ = MakeAuthority(), stranger_ = MakeAuthority();
  const MadeCertificate own_ = MakeCertificate(authority_);
  const TlsOptions trusting_ = {.ca = authority_.certificate};
  std::optional<DaemonProcess> daemon_;
  std::string inference_, admin_, output_;
};

TEST_F(TlsTest, BothListenersSpeakItAndNothingElse) {
  Start();
  v1::GenerateRequest request = GreedyRequest(20);
  request.set_text("Once upon a time");
  int messages = 0;
  const absl::Status streamed =
      Client(Connection(inference_, trusting_)).Generate(request, {}, [&](const auto&) {
        return ++messages > 0;
      });
  EXPECT_TRUE(streamed.ok()) << streamed;
  EXPECT_GT(messages, 2);
  EXPECT_TRUE(AdminClient(Connection(admin_, trusting_)).GetServerStatus({}).ok());
  EXPECT_EQ(Ask(std::nullopt), StatusCode::kUnavailable) << "plain text";
  EXPECT_EQ(Ask(TlsOptions{.ca = stranger_.certificate}), StatusCode::kUnavailable) << "whom nobody knows";
  RawConnection plain(admin_);
  ASSERT_TRUE(plain.Greet());
  plain.AwaitClose();
  EXPECT_THAT(Metrics(),
              AllOf(HasSubstr(R"(hydrad_connections_refused_total{listener="inference",reason="not_tls"})"),
                    HasSubstr(R"(hydrad_connections_refused_total{listener="admin",reason="not_tls"})")));
}

// The daemon looks at its listeners as it starts, and says what it saw once that look is over.
TEST_F(TlsTest, TheDaemonStillSeesItselfAnswer) {
  Start({"--tls-client-ca", Write("ca", authority_.certificate)});
  for (const char* listener : {"inference", "admin", "http"}) {
    const std::string series = std::string("hydrad_listener_answers{listener=\"") + listener + "\"} ";
    std::string metrics;
    while ((metrics = Metrics()).find(series) == std::string::npos) std::this_thread::yield();
    EXPECT_THAT(metrics, HasSubstr(series + "1"));
  }
}

TEST_F(TlsTest, WhoMustShowACertificateIsServedWithOneThatIsVouchedFor) {
  Start({"--tls-client-ca", Write("ca", authority_.certificate)});
  const MadeCertificate mine = MakeCertificate(authority_), other = MakeCertificate(stranger_);
  EXPECT_EQ(Ask(trusting_), StatusCode::kUnavailable) << "none";
  EXPECT_EQ(Ask(TlsOptions{authority_.certificate, other.certificate, other.key}), StatusCode::kUnavailable);
  EXPECT_EQ(Ask(TlsOptions{authority_.certificate, mine.certificate, mine.key}), StatusCode::kOk);
  const std::string ca = Write("ca", authority_.certificate);
  EXPECT_EQ(Hydractl({"health", "--ca-cert", ca, "--cert", Write("mine", mine.certificate), "--key",
                      Write("mine_key", mine.key)}),
            0)
      << output_;
  EXPECT_EQ(Hydractl({"health", "--ca-cert", ca}), 1) << output_;
}

TEST_F(TlsTest, AHangUpBringsNewCertificatesAndAMistakeBringsNothing) {
  const std::string ca = Write("ca", authority_.certificate);
  Start({"--tls-client-ca", ca});
  const MadeCertificate mine = MakeCertificate(authority_);
  const TlsOptions before = {authority_.certificate, mine.certificate, mine.key};
  const MadeCertificate next = MakeCertificate(stranger_);
  const TlsOptions after = {stranger_.certificate, next.certificate, next.key};
  const Client open{Connection(inference_, before)};
  EXPECT_TRUE(open.ListModels({}).ok());

  Write("key", next.key);  // of another certificate than the one that is there
  daemon_->Signal(SIGHUP);
  EXPECT_THAT(daemon_->AwaitLine("not reloaded"), HasSubstr("is not the key of the certificate"));
  EXPECT_EQ(Ask(before), StatusCode::kOk);
  Show(MakeCertificate(stranger_, 7200, -3600));
  daemon_->Signal(SIGHUP);
  EXPECT_THAT(daemon_->AwaitLine("not reloaded"), HasSubstr("has expired on"));
  EXPECT_EQ(Ask(before), StatusCode::kOk);

  Show(next);
  Write("ca", stranger_.certificate);
  daemon_->Signal(SIGHUP);
  EXPECT_NE(daemon_->AwaitLine("reloaded: "), "");
  EXPECT_EQ(Ask(after), StatusCode::kOk);
  EXPECT_EQ(Ask(before), StatusCode::kUnavailable);
  EXPECT_TRUE(open.ListModels({}).ok()) << "an open connection keeps what it began with";
  EXPECT_EQ(Client(Connection(inference_, TlsOptions{stranger_.certificate, mine.certificate, mine.key}))
                .ListModels({.timeout = std::chrono::minutes(1)})
                .status()
                .code(),
            StatusCode::kUnavailable)
      << "clients of before are strangers now";
}

TEST_F(TlsTest, WithoutTheRightFilesItDoesNotStart) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--tls-cert", "/nowhere"}, "/nowhere"},
      {{"--tls-key", Write("other_key", stranger_.key)}, "is not the key of the certificate"},
      {{"--tls-client-ca", "/dev/null"}, "--tls-client-ca"}};
  for (const auto& [more, named] : cases) {
    for (const bool only_check : {false, true}) {
      std::vector<std::string> arguments = Arguments(more);
      if (only_check) arguments.emplace_back("--check-config");
      DaemonProcess daemon(arguments);
      EXPECT_EQ(daemon.Wait(), 1) << daemon.log();
      EXPECT_THAT(daemon.log(), HasSubstr(named));
    }
  }
}

TEST_F(TlsTest, APublicAddressNeedsNoLeaveForPlainText) {
  Start({"--listen", "0.0.0.0:0", "--admin-listen", "0.0.0.0:0", "--admin-key-sha256", Sha256Hex("key")});
  inference_.replace(0, inference_.find(':'), "127.0.0.1");
  EXPECT_EQ(Ask(trusting_), StatusCode::kOk);
  DaemonProcess metrics(Arguments({"--metrics-listen", "0.0.0.0:0"}));
  EXPECT_EQ(metrics.Wait(), 1) << "they are plain text";
  EXPECT_THAT(metrics.log(), HasSubstr("--metrics-listen"));
}

TEST_F(TlsTest, HydractlSpeaksItAndSaysWhatIsWrong) {
  Start();
  const std::string ca = Write("ca", authority_.certificate);
  EXPECT_EQ(Hydractl({"--tls", "--ca-cert", ca, "generate", "--max-tokens", "3", "Once"}), 0) << output_;
  EXPECT_EQ(Hydractl({"adapter", "list", "--ca-cert", ca}), 0) << output_;
  EXPECT_EQ(Hydractl({"health"}), 1);
  EXPECT_THAT(output_, HasSubstr("without TLS? See --server, --admin and --tls"));
  EXPECT_EQ(Hydractl({"health", "--tls"}), 1) << "the system's authorities do not know it";
  EXPECT_THAT(output_, HasSubstr("with TLS?"));
  EXPECT_EQ(Hydractl({"health", "--ca-cert", "/nowhere"}), 2);
  EXPECT_THAT(output_, AllOf(HasSubstr("--ca-cert"), HasSubstr("/nowhere")));
  EXPECT_EQ(Hydractl({"health", "--ca-cert", "/dev/null"}), 2);
  EXPECT_EQ(Hydractl({"health", "--cert", ca}), 2);
  EXPECT_THAT(output_, HasSubstr("--key"));
}

}  // namespace
}  // namespace hydrad
