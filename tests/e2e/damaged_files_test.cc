// Files that are no good, or that somebody damages while the daemon serves: it neither dies of them nor gives
// an answer that it would not have given before.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/golden_model.h"
#include "tests/e2e/greedy.h"
#include "tests/model/model_files.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

const std::vector<int> kPrompt = {3, 14, 15, 9, 26};

// The tensor's values, F32 or BF16, each after `change`.
void Change(TensorFile& tensor, const std::function<float(size_t, float)>& change) {
  const size_t size = tensor.dtype == "BF16" ? 2 : 4;
  ASSERT_TRUE(tensor.dtype == "BF16" || tensor.dtype == "F32");
  for (size_t i = 0; i < tensor.bytes.size() / size; ++i) {
    char* const at = tensor.bytes.data() + i * size;
    std::array<char, sizeof(float)> bytes = {};  // a BF16 is the upper half of a float
    std::memcpy(bytes.data() + sizeof(float) - size, at, size);
    const float value = change(i, std::bit_cast<float>(bytes));
    std::memcpy(at, std::bit_cast<std::array<char, sizeof(float)>>(value).data() + sizeof(float) - size,
                size);
  }
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
// Into the file that is there, as `cp` over it does.
void WriteInPlace(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A daemon on a copy of the random Llama, with the adapters of tests/golden and such as a test makes.
class DamagedFilesTest : public testing::Test {
 protected:
  DamagedFilesTest()
      : model_(ModelWithATokenizer("llama", "damaged_" + TestName())), root_(model_ + "_adapters") {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
    for (const char* name : {"llama_lora", "llama_dora"}) CopyAdapter(name, name);
  }
  static std::string TestName() { return testing::UnitTest::GetInstance()->current_test_info()->name(); }
  void CopyAdapter(const std::string& from, const std::string& to) {
    std::filesystem::copy("tests/golden/adapters/" + from, root_ + "/" + to);
  }
  std::string weights() const { return model_ + "/model.safetensors"; }

  std::unique_ptr<DaemonProcess> Start(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"--model",        model_,        "--listen",         "127.0.0.1:0",
                                          "--admin-listen", "127.0.0.1:0", "--metrics-listen", "",
                                          "--lame-duck",    "0",           "--threads",        "1",
                                          "--weights",      "f32",         "--adapter-root",   root_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<DaemonProcess>(arguments);
  }
  void Connect(DaemonProcess& daemon) {
    stub_ = v1::Inference::NewStub(Channel(daemon.Address("inference")));
    admin_ = v1::Admin::NewStub(Channel(daemon.Address("admin")));
  }
  grpc::Status Load(const std::string& name, const std::string& path) {
    grpc::ClientContext context;
    v1::LoadAdapterRequest request;
    request.set_name(name);
    request.set_path(path);
    v1::Adapter adapter;
    return admin_->LoadAdapter(&context, request, &adapter);
  }
  std::vector<int> Ask(const std::string& adapter) { return Greedy(*stub_, adapter, kPrompt, 8); }

  const std::string model_, root_;
  std::unique_ptr<v1::Inference::Stub> stub_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

TEST_F(DamagedFilesTest, ABaseModelThatGivesNaNIsNotServed) {
  TensorFiles tensors = ReadTensors(weights());
  Change(tensors.at("model.layers.1.mlp.down_proj.weight"),
         [](size_t i, float value) { return i == 7 ? std::nanf("") : value; });
  WriteTensors(weights(), tensors);
  const auto daemon = Start();
  EXPECT_EQ(daemon->Wait(), 1);
  EXPECT_THAT(daemon->log(), HasSubstr("model '" + model_ + "': a short forward pass gives logits that are"));
}

TEST_F(DamagedFilesTest, AnAdapterWhoseFiniteWeightsOverflowIsRefused) {
  CopyAdapter("llama_lora", "huge");
  const std::string file = root_ + "/huge/adapter_model.safetensors";
  TensorFiles tensors = ReadTensors(file);
  for (auto& [name, tensor] : tensors) {
    Change(tensor, [](size_t, float value) { return value < 0 ? -3e30f : 3e30f; });
  }
  WriteTensors(file, tensors);
  const auto daemon = Start({"--adapter", "good=llama_lora"});
  Connect(*daemon);
  const std::vector<int> before = Ask("good");
  const grpc::Status refused = Load("huge", "huge");
  EXPECT_EQ(refused.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(),
              HasSubstr("huge: a short forward pass gives logits that are not finite"));
  EXPECT_FALSE(Load("good", "huge").ok());
  EXPECT_EQ(Ask("good"), before) << "a replace that failed leaves what served";
  daemon->Signal(SIGTERM);
  EXPECT_EQ(daemon->Wait(), 0) << daemon->log();

  const auto at_start = Start({"--adapter", "huge=huge"});
  EXPECT_EQ(at_start->Wait(), 1);
  EXPECT_THAT(at_start->log(), HasSubstr("--adapter huge=huge: huge: a short forward pass"));
}

TEST_F(DamagedFilesTest, TheBaseModelsFileMayBeCutOrWrittenOverWhileItIsServed) {
  const auto daemon = Start();
  Connect(*daemon);
  ASSERT_TRUE(Load("dora", "llama_dora").ok());
  const std::vector<int> base = Ask(""), dora = Ask("dora");
  const std::string good = ReadAll(weights());

  std::filesystem::resize_file(weights(), 4096);
  const grpc::Status cut = Load("again", "llama_dora");
  EXPECT_EQ(cut.error_code(), StatusCode::FAILED_PRECONDITION) << cut.error_message();
  EXPECT_THAT(cut.error_message(), HasSubstr("model.safetensors has changed since it was loaded"));

  std::string other = good;
  for (size_t i = other.size() / 2; i < other.size(); i += 4) other[i] ^= 1;
  WriteInPlace(weights(), other);
  EXPECT_EQ(Load("again", "llama_dora").error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Load("plain", "llama_lora").ok()) << "what needs nothing of the file";
  EXPECT_EQ(Ask(""), base);
  EXPECT_EQ(Ask("dora"), dora);

  WriteInPlace(weights(), good);
  EXPECT_TRUE(Load("again", "llama_dora").ok());
  EXPECT_EQ(Ask("again"), dora);
  daemon->Signal(SIGTERM);
  EXPECT_EQ(daemon->Wait(), 0) << daemon->log();
}

TEST_F(DamagedFilesTest, ABadHeaderOfALargeFileIsRefusedWithoutReadingIt) {
  CopyAdapter("llama_lora", "large");
  std::filesystem::resize_file(root_ + "/large/adapter_model.safetensors", 3ull << 30);  // sparse
  const auto daemon = Start({"--adapter-host-memory", std::to_string(8 << 20)});
  Connect(*daemon);
  const grpc::Status refused = Load("large", "large");
  EXPECT_EQ(refused.error_code(), StatusCode::INVALID_ARGUMENT) << "reading it would need 3 GiB of 8 MiB";
  EXPECT_THAT(refused.error_message(), HasSubstr("bytes after the last tensor"));
  daemon->Signal(SIGTERM);
  EXPECT_EQ(daemon->Wait(), 0) << daemon->log();
}

}  // namespace
}  // namespace hydrad
