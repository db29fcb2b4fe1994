#include "server/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/fakes/made_certificate.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kHash(64, 'a'), kOtherHash(64, 'b');

class AccessTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return testing::TempDir() + "/hydrad_access_" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name)) << text;
    return Path(name);
  }
  std::string WriteTenant(const std::string& name) const {
    return Write("tenants.json",
                 R"({"tenants": [{"name": ")" + name + R"(", "key_sha256": [")" + kHash + R"("]}]})");
  }
};

TEST_F(AccessTest, EveryListenerThatOthersReachMustBeMeant) {
  Config config;
  EXPECT_TRUE(CheckExposures(config).ok());
  const auto refused = [](Config c, const char* named) {
    const absl::Status status = CheckExposures(c);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(named));
  };
  Config listen = config, admin = config, metrics = config;
  listen.listen = "0.0.0.0:1";
  refused(listen, "--listen");
  admin.admin_listen = "[::]:1";
  refused(admin, "--admin-listen");
  metrics.metrics_listen = "10.0.0.1:1";
  refused(metrics, "--metrics-listen");
  Config http = config;
  http.http_listen = "10.0.0.1:1";
  refused(http, "--http-listen");
  metrics.allow_plaintext_public = true;
  EXPECT_TRUE(CheckExposures(metrics).ok());
  metrics.metrics_listen = "";
  metrics.allow_plaintext_public = false;
  EXPECT_TRUE(CheckExposures(metrics).ok());
}

TEST_F(AccessTest, AdministrationOverHttpAsksForKeysWhereOthersReachIt) {
  Config config;
  const auto said = [&] { return std::string(CheckExposures(config).message()); };
  config.http_admin_listen = "127.0.0.1:1";
  EXPECT_EQ(said(), "");
  config.http_admin_listen = "0.0.0.0:1";
  EXPECT_THAT(said(), HasSubstr("--http-admin-listen"));
  config.allow_plaintext_public = true;
  EXPECT_THAT(said(), HasSubstr("--admin-key-sha256"));
  config.admin_key_sha256 = {kHash};
  EXPECT_EQ(said(), "");
  config.http_admin_listen = config.http_listen;
  EXPECT_EQ(said(), "");
  config.admin_key_sha256.clear();
  EXPECT_THAT(said(), HasSubstr("--admin-key-sha256")) << "also on loopback: it is not for clients";
}

TEST_F(AccessTest, TlsIsNoPlainTextButMetricsAre) {
  Config config;
  config.listen = config.http_listen = "0.0.0.0:1";
  config.tls_cert = config.tls_key = "file";
  EXPECT_TRUE(CheckExposures(config).ok());
  config.metrics_listen = "0.0.0.0:1";
  EXPECT_THAT(std::string(CheckExposures(config).message()), HasSubstr("--metrics-listen"));
}

TEST_F(AccessTest, ReadsCertificatesAgainButWhetherThereIsTlsStays) {
  const MadeCertificate one = MakeAuthority(), other = MakeAuthority();
  const auto tls = [&](const MadeCertificate& own, bool client_ca) {
    const std::string ca = client_ca ? "tls-client-ca = \"" + Write("ca", own.certificate) + "\"\n" : "";
    return "model = \"m\"\ntls-cert = \"" + Write("cert", own.certificate) + "\"\ntls-key = \"" +
           Write("key", own.key) + "\"\n" + ca;
  };
  const std::string file = Write("config.toml", tls(one, false));
  const std::vector<std::string> arguments = {"--config", file};
  const CommandLine start = ParseConfig(arguments);
  ASSERT_FALSE(start.exit) << start.exit->text;
  ASSERT_EQ((*CertificatesOf(start.config))->chain, one.certificate);
  const auto read = [&] { return ReadChanges(arguments, start.config, start.effective); };

  Write("config.toml", tls(other, false));
  EXPECT_EQ(read()->certificates->chain, other.certificate);
  EXPECT_THAT(read()->left_out, IsEmpty());
  Write("config.toml", tls(other, true));
  EXPECT_EQ(read()->certificates->client_ca, "");
  EXPECT_THAT(read()->left_out, ElementsAre("--tls-client-ca"));
  Write("config.toml", "model = \"m\"\n");
  EXPECT_EQ(read()->certificates->chain, other.certificate) << "read from where they were";
  EXPECT_THAT(read()->left_out, ElementsAre("--tls-cert", "--tls-key"));
  Write("key", one.key);
  EXPECT_THAT(std::string(read().status().message()), HasSubstr("--tls-key"));
}

TEST_F(AccessTest, ReadsTenantsKeysAndTheLogLevelAgain) {
  const std::string tenants = WriteTenant("acme");
  const std::string file = Write(
      "config.toml", "model = \"m\"\ntenants = \"" + tenants + "\"\nlog-level = \"info\"\nthreads = 1\n");
  const std::vector<std::string> arguments = {"--config", file};
  const CommandLine start = ParseConfig(arguments);
  ASSERT_FALSE(start.exit) << start.exit->text;
  WriteTenant("globex");
  Write("config.toml", "model = \"m\"\ntenants = \"" + tenants + "\"\nlog-level = \"debug\"\nthreads = 2\n" +
                           "admin-key-sha256 = [\"" + kOtherHash + "\"]\n");
  const absl::StatusOr<Changes> changes = ReadChanges(arguments, start.config, start.effective);
  ASSERT_TRUE(changes.ok()) << changes.status();
  ASSERT_EQ(changes->tenants.size(), 1u);
  EXPECT_EQ(changes->tenants[0].name, "globex");
  ASSERT_EQ(changes->administrators.size(), 1u);
  EXPECT_THAT(changes->administrators[0].key_sha256, ElementsAre(kOtherHash));
  EXPECT_EQ(changes->log_level, "debug");
  EXPECT_THAT(changes->left_out, ElementsAre("--threads"));
}

TEST_F(AccessTest, WhatCannotBeReadIsNamed) {
  const std::string file = Write("config.toml", "model = \"m\"\ntenants = \"" + WriteTenant("acme") + "\"\n");
  const std::vector<std::string> arguments = {"--config", file};
  const CommandLine start = ParseConfig(arguments);
  const auto error = [&] {
    return std::string(ReadChanges(arguments, start.config, start.effective).status().message());
  };
  EXPECT_THAT(error(), IsEmpty());
  Write("tenants.json", "{");
  EXPECT_THAT(error(), HasSubstr("tenants.json"));
  Write("config.toml", "model = \"m\"\nno-such-key = 1\n");
  EXPECT_THAT(error(), HasSubstr("no-such-key"));
}

TEST_F(AccessTest, KeysThatAPublicListenerNeedsCannotBeTakenAway) {
  const std::string file = Write("config.toml", "model = \"m\"\nadmin-key-sha256 = [\"" + kHash + "\"]\n");
  const std::vector<std::string> arguments = {"--config", file, "--admin-listen", "0.0.0.0:1",
                                              "--allow-plaintext-public"};
  const CommandLine start = ParseConfig(arguments);
  Write("config.toml", "model = \"m\"\n");
  EXPECT_EQ(ReadChanges(arguments, start.config, start.effective).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace hydrad
