// Serving many at once, the interfaces beside Generate, and what operators have.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/admission/admission.h"
#include "tests/e2e/greedy.h"
#include "tests/e2e/readme_rows.h"
#include "tests/fakes/http_get.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

std::string Metrics(RowsDaemon& daemon) { return HttpGet(daemon.process().Address("metrics"), "/metrics"); }

void MixedBatches(RowsDaemon& daemon) {
  const std::vector<std::string> adapters = {"",    "sql", "shakespeare", "domains", "mixed",
                                             "sql", "",    "mixed"};
  std::vector<std::vector<int>> together(adapters.size());
  std::vector<std::thread> users;
  for (size_t i = 0; i < adapters.size(); ++i) {
    users.emplace_back(
        [&, i] { together[i] = Ids(daemon.AskOne(RowRequest(20 + 5 * static_cast<int>(i), adapters[i]))); });
  }
  for (std::thread& user : users) user.join();
  for (size_t i = 0; i < adapters.size(); ++i) {
    EXPECT_EQ(together[i], Ids(daemon.AskOne(RowRequest(20 + 5 * static_cast<int>(i), adapters[i]))))
        << adapters[i];
  }
}

// Eight choices need several times the cache that there is.
void Preemption(RowsDaemon& daemon) {
  v1::GenerateRequest request = RowRequest(150);
  request.mutable_output()->clear_logprobs();
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(1);
  request.mutable_sampling()->set_n(8);
  const v1::GenerateResult all = daemon.Ask(request);
  ASSERT_EQ(all.choices_size(), 8);
  EXPECT_THAT(Metrics(daemon), testing::Not(HasSubstr("hydrad_preemptions_total 0\n")));
  request.mutable_sampling()->set_n(1);
  request.mutable_sampling()->set_seed(8);
  EXPECT_EQ(Ids(all.choices(7)), Ids(daemon.AskOne(request)));
}

void Health(RowsDaemon& daemon) {
  for (const char* listener : {"inference", "admin"}) {
    const auto health = grpc::health::v1::Health::NewStub(Channel(daemon.process().Address(listener)));
    for (const char* service : {"", "readiness", "liveness"}) {
      grpc::health::v1::HealthCheckRequest request;
      request.set_service(service);
      grpc::health::v1::HealthCheckResponse response;
      grpc::ClientContext context;
      ASSERT_TRUE(health->Check(&context, request, &response).ok()) << listener << " " << service;
      EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
    }
  }
}

// The reflection service is asked for the names of the services, in its own bytes.
void Reflection(RowsDaemon& daemon) {
  grpc::GenericStub stub(Channel(daemon.process().Address("inference")));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  const auto wait = [&] {
    void* tag;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  ASSERT_TRUE(wait());
  const grpc::Slice list_services(std::string("\x3a\x00", 2));  // field 7, an empty string
  call->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  ASSERT_TRUE(wait());
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  ASSERT_TRUE(wait());
  grpc::Slice bytes;
  ASSERT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
  EXPECT_THAT(std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size()),
              HasSubstr("hydrad.v1.Inference"));
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
}

void Hydractl(RowsDaemon& daemon) {
  const std::string command =
      "HYDRAD_SERVER=" + daemon.process().Address("inference") +
      " " HYDRACTL_BINARY " generate --json --temperature 0 --ignore-eos --max-tokens 12 --adapter sql '" +
      RowRequest(1).text() + "'";
  FILE* const out = popen(command.c_str(), "r");
  ASSERT_NE(out, nullptr);
  std::string text;
  for (int c; (c = fgetc(out)) != EOF;) text += static_cast<char>(c);
  EXPECT_EQ(pclose(out), 0);
  std::string ids;
  for (const int id : Ids(daemon.AskOne(RowRequest(12, "sql"))))
    ids += (ids.empty() ? "" : ",") + std::to_string(id);
  text.erase(std::remove_if(text.begin(), text.end(), [](unsigned char c) { return std::isspace(c); }),
             text.end());
  EXPECT_THAT(text, HasSubstr("[" + ids + "]"));
}

void MetricsCount(RowsDaemon& daemon) {
  daemon.AskOne(RowRequest(5, "sql"));
  const std::string metrics = Metrics(daemon);
  EXPECT_THAT(metrics, HasSubstr("200 OK"));
  EXPECT_THAT(metrics, testing::ContainsRegex("hydrad_requests_total\\{[^}]*adapter=\"sql\"[^}]*\\} [1-9]"));
}

// A key, the adapters that it may use, and a bucket of two requests that fills once in a thousand seconds.
void TenantsAndLimits(RowsDaemon&) {
  const std::string path = testing::TempDir() + "/hydrad_rows_tenants.json";
  std::ofstream(path) << R"({"tenants": [
      {"name": "acme", "key_sha256": [")"
                      << Sha256Hex("secret") << R"("], "adapters": ["sql"], "base_model": true,
       "requests_per_second": 0.001, "burst": 2},
      {"name": "other", "key_sha256": [")"
                      << Sha256Hex("another") << R"("], "adapters": ["sql"]}]})";
  RowsDaemon daemon({"--tenants", path, "--admin-key-sha256", Sha256Hex("root"), "--adapter", "sql=sql"});
  const auto code = [&](const std::string& key, const std::string& adapter) {
    grpc::ClientContext context;
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    v1::GenerateResult result;
    return daemon.inference().GenerateUnary(&context, RowRequest(1, adapter), &result).error_code();
  };
  EXPECT_EQ(code("", "sql"), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("wrong", "sql"), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("another", "shakespeare"), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(code("secret", "sql"), grpc::StatusCode::OK);
  EXPECT_EQ(code("secret", ""), grpc::StatusCode::OK);
  EXPECT_EQ(code("secret", "sql"), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(code("another", "sql"), grpc::StatusCode::OK) << "which is another's";
}

}  // namespace

std::vector<ReadmeRow> ServiceRows() {
  return {{"serving", "any adapters in one step", MixedBatches},
          {"serving", "preemption", Preemption},
          {"interface", "health", Health},
          {"interface", "reflection", Reflection},
          {"interface", "hydractl", Hydractl},
          {"operations", "Prometheus metrics", MetricsCount},
          {"operations", "tenants with hashed keys and limits", TenantsAndLimits}};
}

}  // namespace hydrad
