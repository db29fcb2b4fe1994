// Prompts that begin as earlier ones did, asked of the daemon: the same answer to the last bit, from fewer
// computed tokens, and nothing of another tenant, adapter or generation.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/admission/admission.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/model/model_files.h"  // TempDir

namespace hydrad {
namespace {

constexpr int kPrompt = 200, kBlock = 16;

std::vector<std::string> Tiny(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"--model",          "deploy/models/tiny",
                                        "--listen",         "127.0.0.1:0",
                                        "--admin-listen",   "127.0.0.1:0",
                                        "--metrics-listen", "",
                                        "--http-listen",    "",
                                        "--lame-duck",      "0",
                                        "--threads",        "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// A prompt that no other number has.
v1::GenerateRequest Prompt(int number, const std::string& adapter = "") {
  v1::GenerateRequest request = GreedyRequest(8);
  for (int i = 0; i < kPrompt; ++i) request.mutable_token_ids()->add_ids(5 + (number * 31 + i * i) % 200);
  request.mutable_output()->set_token_ids(true);
  request.mutable_output()->set_logprobs(3);
  request.set_adapter(adapter);
  return request;
}

v1::GenerateResult Ask(v1::Inference::Stub& stub, const v1::GenerateRequest& request,
                       const std::string& key = "") {
  grpc::ClientContext context;
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  v1::GenerateResult result;
  const grpc::Status status = stub.GenerateUnary(&context, request, &result);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return result;
}

int Cached(v1::Inference::Stub& stub, const v1::GenerateRequest& request, const std::string& key = "") {
  return Ask(stub, request, key).usage().cached_tokens();
}

// All of it but what it cost.
std::string Answer(const v1::GenerateResult& result) {
  std::string answer;
  for (const auto& choice : result.choices()) answer += choice.ShortDebugString() + "\n";
  return answer;
}

class PrefixCacheDaemonTest : public testing::Test {
 protected:
  void Serve(const std::vector<std::string>& more) {
    daemon_ = std::make_unique<DaemonProcess>(Tiny(more));
    const auto channel = Channel(daemon_->Address("inference"));
    stub_ = v1::Inference::NewStub(channel);
    admin_ = v1::Admin::NewStub(Channel(daemon_->Address("admin")));
  }
  void Load(const std::string& name, const std::string& path) {
    grpc::ClientContext context;
    v1::LoadAdapterRequest request;
    request.set_name(name);
    request.set_path(path);
    v1::Adapter adapter;
    const grpc::Status status = admin_->LoadAdapter(&context, request, &adapter);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<v1::Inference::Stub> stub_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

TEST_F(PrefixCacheDaemonTest, EveryFamilyAnswersTheSameFromIt) {
  Serve({"--adapter-root", "deploy/adapters/tiny", "--adapter", "sql=sql", "--adapter", "domains=domains",
         "--adapter", "mixed=mixed-hydralora", "--adapter", "moa=mixed-moa"});
  constexpr int kFull = (kPrompt - 1) / kBlock * kBlock;
  for (const std::string adapter : {"", "sql", "domains", "mixed", "moa"}) {
    const v1::GenerateRequest request = Prompt(1, adapter);
    const v1::GenerateResult first = Ask(*stub_, request), second = Ask(*stub_, request);
    EXPECT_EQ(first.usage().cached_tokens(), 0) << adapter;
    EXPECT_EQ(second.usage().cached_tokens(), kFull) << adapter;
    EXPECT_EQ(Answer(second), Answer(first)) << adapter;
    v1::GenerateRequest longer = request;  // the answer, and more
    for (const int id : first.choices(0).token_ids()) longer.mutable_token_ids()->add_ids(id);
    longer.mutable_token_ids()->add_ids(9);
    EXPECT_EQ(Cached(*stub_, longer), (kPrompt + 7) / kBlock * kBlock) << adapter;
    v1::GenerateRequest scored = request;
    scored.mutable_output()->set_prompt_logprobs(0);
    EXPECT_EQ(Cached(*stub_, scored), 0) << adapter;
  }
  v1::GenerateRequest sum = Prompt(2);
  for (const char* name : {"sql", "mixed"}) sum.add_adapters()->set_name(name);
  const v1::GenerateResult first = Ask(*stub_, sum), second = Ask(*stub_, sum);
  EXPECT_EQ(second.usage().cached_tokens(), kFull) << "a composition";
  EXPECT_EQ(Answer(second), Answer(first));
  sum.mutable_adapters(1)->set_weight(0.5);
  EXPECT_EQ(Cached(*stub_, sum), 0) << "of other weights";
}

TEST_F(PrefixCacheDaemonTest, AReplacedAdapterBeginsAnew) {
  Serve({"--adapter-root", "deploy/adapters/tiny", "--adapter", "a=sql"});
  const v1::GenerateRequest request = Prompt(1, "a");
  const std::string of_sql = Answer(Ask(*stub_, request));
  EXPECT_GT(Cached(*stub_, request), 0);
  Load("a", "shakespeare");
  const v1::GenerateResult replaced = Ask(*stub_, request);
  EXPECT_EQ(replaced.usage().cached_tokens(), 0);
  EXPECT_NE(Answer(replaced), of_sql);
  EXPECT_GT(Cached(*stub_, request), 0);
  Load("a", "sql");
  EXPECT_EQ(Cached(*stub_, request), 0) << "the same weights, another generation";
  EXPECT_EQ(Answer(Ask(*stub_, request)), of_sql);
}

TEST_F(PrefixCacheDaemonTest, TenantsShareOnlyWhereBothHaveAgreed) {
  const TempDir directory;
  const std::string path = directory.path() + "/tenants.json";
  const auto tenant = [](const std::string& name, const std::string& group = "") {
    return R"({"name": ")" + name + R"(", "key_sha256": [")" + Sha256Hex(name) + R"("])" +
           (group.empty() ? "" : R"(, "prefix_group": ")" + group + '"') + "}";
  };
  const auto write = [&](const std::vector<std::string>& tenants) {
    std::ofstream file(path);
    file << R"({"tenants": [)";
    for (size_t i = 0; i < tenants.size(); ++i) file << (i == 0 ? "" : ", ") << tenants[i];
    file << "]}";
  };
  write({tenant("one", "friends"), tenant("two", "friends"), tenant("friends"), tenant("three", "others")});
  Serve({"--tenants", path});
  EXPECT_EQ(Cached(*stub_, Prompt(1), "one"), 0);
  EXPECT_GT(Cached(*stub_, Prompt(1), "one"), 0);
  EXPECT_GT(Cached(*stub_, Prompt(1), "two"), 0);
  EXPECT_EQ(Cached(*stub_, Prompt(1), "friends"), 0) << "a tenant of the group's name is not in it";
  EXPECT_EQ(Cached(*stub_, Prompt(1), "three"), 0);
  EXPECT_GT(Cached(*stub_, Prompt(1), "friends"), 0);

  const auto reload = [&](const std::vector<std::string>& tenants) {
    write(tenants);
    daemon_->Signal(SIGHUP);
    EXPECT_NE(daemon_->AwaitLine("reloaded: " + std::to_string(tenants.size()) + " tenants"), "");
  };
  reload({tenant("one", "friends"), tenant("two"), tenant("three", "others")});
  EXPECT_EQ(Cached(*stub_, Prompt(1), "two"), 0) << "it has left the group";
  EXPECT_GT(Cached(*stub_, Prompt(1), "one"), 0);
  reload({tenant("one", "friends"), tenant("two"), tenant("friends")});
  EXPECT_EQ(Cached(*stub_, Prompt(1), "friends"), 0) << "it was away, and is somebody else now";
  EXPECT_GT(Cached(*stub_, Prompt(1), "two"), 0) << "who stays keeps what is its own";
}

TEST_F(PrefixCacheDaemonTest, ItCanBeOff) {
  Serve({"--prefix-cache", "off"});
  const v1::GenerateRequest request = Prompt(1);
  const v1::GenerateResult first = Ask(*stub_, request), second = Ask(*stub_, request);
  EXPECT_EQ(second.usage().cached_tokens(), 0);
  EXPECT_EQ(Answer(second), Answer(first));
}

}  // namespace
}  // namespace hydrad
