// The daemon on CUDA, from the flag to the stream: on a GPU if there is one, else on the stand-ins of
// tests/ptxsim, which end it with status 86 when a kernel or the runtime was misused. Its greedy tokens are
// the CPU daemon's wherever the CPU's lead over the second token exceeds what bf16 activations may move.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "proto/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/fakes/keep_grpc.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

// Twice twice the most that transformers' own bf16 run of this model is off (tests/golden/cases/tiny*.json,
// 0.18): two such runs, and two logits whose difference is looked at.
constexpr float kBound = 4 * 0.18f;
constexpr int kTokens = 8;

std::vector<std::string> Arguments(const std::string& device) {
  std::vector<std::string> arguments = {"--device",
                                        device,
                                        "--model",
                                        "deploy/models/tiny",
                                        "--adapter-root",
                                        "deploy/adapters/tiny",
                                        "--adapter-device-memory",
                                        "4MiB",
                                        "--max-context",
                                        "128",
                                        "--max-running",
                                        "8",
                                        "--prefill-chunk",
                                        "32",
                                        "--listen",
                                        "127.0.0.1:0",
                                        "--admin-listen",
                                        "",
                                        "--lame-duck",
                                        "0",
                                        "--threads",
                                        "1",
                                        "--metrics-listen",
                                        ""};
  for (const char* name : {"shakespeare", "domains", "sql"}) {
    arguments.push_back("--adapter");
    arguments.push_back(std::string(name) + "=" + name);
  }
  return arguments;
}

// Where the CUDA libraries come from, as tests/cuda_emulation/on_device has set it for this test.
std::vector<std::string> Variables() {
  const char* path = std::getenv("LD_LIBRARY_PATH");
  return path == nullptr ? std::vector<std::string>() : std::vector{std::string("LD_LIBRARY_PATH=") + path};
}

// The answers to one prompt for every adapter, asked for all at once: "" is the base model, then a LoRA, a
// HydraLoRA and another LoRA.
std::vector<v1::GenerateResult> Answers(const std::string& address) {
  KeepGrpc();
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  const std::vector<std::string> adapters = {"", "shakespeare", "domains", "sql"};
  std::vector<v1::GenerateResult> results(adapters.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < adapters.size(); ++i) {
    threads.emplace_back([&, i] {
      v1::GenerateRequest request;
      request.set_text("Once upon a time");
      request.set_adapter(adapters[i]);
      request.mutable_sampling()->set_temperature(0);
      request.mutable_stopping()->set_max_tokens(kTokens);
      request.mutable_stopping()->set_ignore_eos(true);
      request.mutable_output()->set_token_ids(true);
      request.mutable_output()->set_logprobs(2);
      grpc::ClientContext context;
      const grpc::Status status =
          v1::Inference::NewStub(channel)->GenerateUnary(&context, request, &results[i]);
      EXPECT_TRUE(status.ok()) << adapters[i] << ": " << status.error_message();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

TEST(CudaDaemonTest, StreamsWhatTheCpuStreams) {
  DaemonProcess cuda(Arguments("cuda"), Variables()), cpu(Arguments("cpu"));
  EXPECT_THAT(cuda.AwaitLine("device"), HasSubstr("device cuda ")) << cuda.log();
  EXPECT_THAT(cuda.AwaitLine("memory:"), HasSubstr("adapters 4,"));
  const auto got = Answers(cuda.Address("inference")), want = Answers(cpu.Address("inference"));
  int compared = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(want[i].choices_size(), 1);
    ASSERT_EQ(got[i].choices_size(), 1);
    const v1::Chunk &w = want[i].choices(0), &g = got[i].choices(0);
    ASSERT_EQ(w.token_ids_size(), kTokens);
    ASSERT_EQ(g.token_ids_size(), kTokens);
    for (int t = 0; t < kTokens; ++t, ++compared) {
      if (g.token_ids(t) != w.token_ids(t)) {  // from here on they tell different stories
        EXPECT_LE(w.logprobs(t).top(0).logprob() - w.logprobs(t).top(1).logprob(), kBound) << "token " << t;
        break;
      }
      EXPECT_NEAR(g.logprobs(t).token().logprob(), w.logprobs(t).token().logprob(), kBound);
    }
  }
  EXPECT_GT(compared, 2 * kTokens);
  cuda.Signal(SIGTERM);
  EXPECT_EQ(cuda.Wait(), 0) << cuda.log();
}

}  // namespace
}  // namespace hydrad
