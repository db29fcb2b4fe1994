// An adapter whose config and tensors do not tell of the same modules, as its operator and its users meet it.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/model/model_files.h"

namespace hydrad {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kAdapter[] = "deploy/adapters/tiny/sql";

// An adapter under `root` with the tensors whose names hold one of `parts`, and its config changed by
// `fields`.
void Write(const TempDir& root, const std::string& name, const std::vector<std::string>& parts,
           const nlohmann::json& fields) {
  const std::string path = root.path() + "/" + name;
  std::filesystem::create_directory(path);
  TensorFiles tensors = ReadTensors(std::string(kAdapter) + "/adapter_model.safetensors");
  std::erase_if(tensors, [&](const auto& tensor) {
    return std::ranges::none_of(
        parts, [&](const auto& part) { return tensor.first.find(part) != std::string::npos; });
  });
  WriteTensors(path + "/adapter_model.safetensors", tensors);
  nlohmann::json config =
      nlohmann::json::parse(std::ifstream(std::string(kAdapter) + "/adapter_config.json"));
  config.update(fields);
  std::ofstream(path + "/adapter_config.json") << config;
}

grpc::Status Load(v1::Admin::Stub& admin, const std::string& name, bool lenient, v1::Adapter* adapter) {
  grpc::ClientContext context;
  v1::LoadAdapterRequest request;
  request.set_name(name);
  request.set_path(name);
  request.set_lenient(lenient);
  return admin.LoadAdapter(&context, request, adapter);
}

TEST(LenientTest, DoesWhatPeftDoesAndSaysSo) {
  const TempDir root, state;
  const std::vector<std::string> q = {"q_proj"}, all = {"proj"}, half = {"layers.0.", "layers.1."};
  Write(root, "only-q", q, {{"target_modules", {"q_proj"}}});
  Write(root, "more", all, {{"target_modules", {"q_proj"}}});
  Write(root, "cut", half, nlohmann::json::object());
  Write(root, "half", half, {{"layers_to_transform", {0, 1}}});
  Write(root, "other", all, {{"base_model_name_or_path", "somebody/another-model"}});
  const std::vector<std::string> arguments = {"--model",          "deploy/models/tiny",
                                              "--listen",         "127.0.0.1:0",
                                              "--admin-listen",   "127.0.0.1:0",
                                              "--metrics-listen", "",
                                              "--lame-duck",      "0",
                                              "--threads",        "1",
                                              "--adapter-root",   root.path(),
                                              "--state-dir",      state.path()};
  const std::vector<int> prompt = {5, 6, 7, 8};
  std::vector<int> answers[2];
  {
    DaemonProcess daemon(arguments);
    const auto stub = v1::Inference::NewStub(Channel(daemon.Address("inference")));
    const auto admin = v1::Admin::NewStub(Channel(daemon.Address("admin")));
    v1::Adapter adapter;
    EXPECT_THAT(Load(*admin, "more", false, &adapter).error_message(),
                AllOf(HasSubstr("24 modules have tensors that target_modules does not name"),
                      HasSubstr("and 21 more")));
    EXPECT_THAT(Load(*admin, "cut", false, &adapter).error_message(),
                AllOf(HasSubstr("14 of the 28 modules"), HasSubstr("model.layers.2.self_attn.q_proj")));
    for (const char* name : {"only-q", "half"}) {
      const grpc::Status status = Load(*admin, name, false, &adapter);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_THAT(adapter.warnings(), IsEmpty());
      EXPECT_FALSE(adapter.lenient());
    }
    for (const char* name : {"more", "cut"}) {
      const grpc::Status status = Load(*admin, name, true, &adapter);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_THAT(adapter.warnings(), ElementsAre(HasSubstr("target_modules")));
      EXPECT_TRUE(adapter.lenient());
    }
    ASSERT_TRUE(Load(*admin, "other", false, &adapter).ok());
    EXPECT_THAT(adapter.warnings(), ElementsAre(HasSubstr("'somebody/another-model'")));
    answers[0] = Greedy(*stub, "only-q", prompt, 12);
    answers[1] = Greedy(*stub, "half", prompt, 12);
    EXPECT_EQ(Greedy(*stub, "more", prompt, 12), answers[0]);
    EXPECT_EQ(Greedy(*stub, "cut", prompt, 12), answers[1]);
    daemon.Signal(SIGTERM);
    EXPECT_EQ(daemon.Wait(), 0) << daemon.log();
  }
  DaemonProcess again(arguments);
  const auto stub = v1::Inference::NewStub(Channel(again.Address("inference")));
  EXPECT_EQ(Greedy(*stub, "more", prompt, 12), answers[0]);
  EXPECT_EQ(Greedy(*stub, "cut", prompt, 12), answers[1]);
  const auto admin = v1::Admin::NewStub(Channel(again.Address("admin")));
  grpc::ClientContext context;
  v1::GetAdapterRequest request;
  request.set_name("cut");
  v1::Adapter adapter;
  ASSERT_TRUE(admin->GetAdapter(&context, request, &adapter).ok());
  EXPECT_TRUE(adapter.lenient());
  EXPECT_THAT(adapter.warnings(), ElementsAre(HasSubstr("14 of the 28 modules")));
}

TEST(LenientTest, MayBeAskedForAtTheStart) {
  const TempDir root;
  Write(root, "cut", {"layers.0."}, nlohmann::json::object());
  std::vector<std::string> arguments = {"--model",          "deploy/models/tiny",
                                        "--listen",         "127.0.0.1:0",
                                        "--admin-listen",   "",
                                        "--metrics-listen", "",
                                        "--lame-duck",      "0",
                                        "--threads",        "1",
                                        "--adapter-root",   root.path(),
                                        "--adapter",        "cut=cut"};
  DaemonProcess strict(arguments);
  EXPECT_EQ(strict.Wait(), 1);
  EXPECT_THAT(strict.log(), HasSubstr("21 of the 28 modules"));
  arguments.push_back("--lenient");
  DaemonProcess lenient(arguments);
  const auto stub = v1::Inference::NewStub(Channel(lenient.Address("inference")));
  EXPECT_EQ(Greedy(*stub, "cut", std::vector<int>{5, 6}, 2).size(), 2);
}

}  // namespace
}  // namespace hydrad
