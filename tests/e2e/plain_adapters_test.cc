// Adapters with all that PEFT adds to LoRA, on the path of a user: loaded over the admin port while the
// daemon serves, asked all at once, and answered with the tokens that PEFT draws (tests/golden).
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/golden_model.h"
#include "tests/e2e/greedy.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

const std::vector<std::string> kAdapters = {"llama_lora",
                                            "llama_dora",
                                            "llama_dora_embedding_head",
                                            "llama_tied_head",
                                            "llama_saved_embedding",
                                            "llama_trained_tokens"};

grpc::Status Load(v1::Admin::Stub& admin, const std::string& name, v1::Adapter* adapter) {
  grpc::ClientContext context;
  v1::LoadAdapterRequest request;
  request.set_name(name);
  request.set_path(name);
  return admin.LoadAdapter(&context, request, adapter);
}

// Asks for the golden prompt's continuation and compares it as far as the reference's margins go: a logit of
// the f32 daemon may be off by 1e-3 at most (tests/model/golden.h).
void ExpectTheReferencesTokens(v1::Inference::Stub& stub, const std::string& adapter,
                               const nlohmann::json& prompt) {
  const std::vector<int> ids = prompt["ids"], want = prompt["greedy"]["ids"];
  const std::vector<int> got = Greedy(stub, adapter, ids, static_cast<int>(want.size()));
  for (size_t i = 0; i < got.size() && prompt["greedy"]["margins"][i] >= 2e-3; ++i) {
    EXPECT_EQ(got[i], want[i]) << adapter << ", token " << i;
  }
}

TEST(PlainAdaptersTest, AreLoadedServedTogetherAndUnloaded) {
  DaemonProcess daemon({"--model", ModelWithATokenizer("llama", "plain_adapters"), "--listen", "127.0.0.1:0",
                        "--admin-listen", "127.0.0.1:0", "--metrics-listen", "", "--lame-duck", "0",
                        "--threads", "1", "--weights", "f32", "--adapter-root", "tests/golden/adapters"});
  const auto stub = v1::Inference::NewStub(Channel(daemon.Address("inference")));
  const auto admin = v1::Admin::NewStub(Channel(daemon.Address("admin")));
  v1::Adapter adapter;
  for (const std::string& name : kAdapters) {
    const grpc::Status status = Load(*admin, name, &adapter);
    ASSERT_TRUE(status.ok()) << name << ": " << status.error_message();
  }
  EXPECT_THAT(adapter.targets(), testing::ElementsAre("v_proj", "embed_tokens", "lm_head"));
  EXPECT_THAT(Load(*admin, "llama_bias_trained", &adapter).error_message(),
              HasSubstr("the base model has no bias there"));

  std::vector<std::thread> users;
  for (const std::string& name : kAdapters) {
    const auto golden = nlohmann::json::parse(std::ifstream("tests/golden/cases/" + name + ".json"));
    for (const auto& prompt : golden["prompts"]) {
      users.emplace_back([&stub, name, prompt] { ExpectTheReferencesTokens(*stub, name, prompt); });
    }
  }
  const auto base = nlohmann::json::parse(std::ifstream("tests/golden/cases/llama.json"));
  users.emplace_back([&] { ExpectTheReferencesTokens(*stub, "", base["prompts"][1]); });
  for (std::thread& user : users) user.join();

  for (const std::string& name : kAdapters) {
    grpc::ClientContext context;
    v1::UnloadAdapterRequest request;
    request.set_name(name);
    v1::Adapter gone;
    EXPECT_TRUE(admin->UnloadAdapter(&context, request, &gone).ok()) << name;
  }
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.log();
}

}  // namespace
}  // namespace hydrad
