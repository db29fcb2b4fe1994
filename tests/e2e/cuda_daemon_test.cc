// The daemon on CUDA, from the flag to the stream: on a GPU if there is one, else on the stand-ins of
// tests/ptxsim, which end it with status 86 when a kernel or the runtime was misused. Its greedy tokens are
// the CPU daemon's wherever the CPU's lead over the second token exceeds what bf16 activations may move.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/golden_model.h"
#include "tests/e2e/greedy.h"
#include "tests/fakes/http_get.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::Not;

// Twice twice the most that transformers' own bf16 run of this model is off (tests/golden/cases/tiny*.json,
// 0.18): two such runs, and two logits whose difference is looked at.
constexpr float kBf16Error = 0.18f, kBound = 4 * kBf16Error;
// Of a gate. A router's logits are rows times the stream, as the network's are, and smaller: two runs are
// twice that error apart, and a softmax moves by no more than half of what its logits do.
constexpr float kGateBound = 2 * kBf16Error / 2;
constexpr int kTokens = 8;
constexpr int kHeads = 4;  // of the HydraLoRA, and experts of the MoA
constexpr int kLayers = 4;

// What is asked of the daemon, with one prompt.
struct Asked {
  const char* adapter;  // "": the base model
  int top_k = 0;        // heads to keep, 0: all
  v1::Decision decision = v1::DECISION_UNSPECIFIED;
};
// The base model, two LoRAs, a HydraLoRA, the same with fewer heads, and a MoA that is decided in two ways.
constexpr Asked kAsked[] = {{""},
                            {"shakespeare"},
                            {"domains"},
                            {"domains", 2},
                            {"domains", 1},
                            {"sql"},
                            {"mixed-moa", 0, v1::DECISION_VOTE},
                            {"mixed-moa", 0, v1::DECISION_LAYER}};

void AddAdapter(const std::string& name, std::vector<std::string>* arguments) {
  arguments->push_back("--adapter");
  arguments->push_back(name + "=" + name);
}

std::vector<std::string> Arguments(const std::string& device, const std::string& model,
                                   const std::string& adapters) {
  return {"--device",
          device,
          "--model",
          model,
          "--adapter-root",
          adapters,
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
          "127.0.0.1:0",
          "--adapter-device-memory",
          "4MiB"};
}

// With what kAsked asks for.
std::vector<std::string> Arguments(const std::string& device) {
  std::vector<std::string> arguments = Arguments(device, "deploy/models/tiny", "deploy/adapters/tiny");
  for (const char* name : {"shakespeare", "domains", "sql", "mixed-moa"}) AddAdapter(name, &arguments);
  return arguments;
}

// Where the CUDA libraries come from, as tests/cuda_emulation/on_device has set it for this test; before them
// come those of `first`.
std::vector<std::string> Variables(const std::string& first = "") {
  const char* path = std::getenv("LD_LIBRARY_PATH");
  const std::string set = path == nullptr ? "" : path;
  return {"LD_LIBRARY_PATH=" + (first.empty() ? set : set.empty() ? first : first + ":" + set)};
}

v1::GenerateRequest Request(const Asked& asked) {
  v1::GenerateRequest request = GreedyRequest(kTokens);
  request.set_text("Once upon a time");
  request.set_adapter(asked.adapter);
  if (asked.top_k > 0) request.set_adapter_top_k(asked.top_k);
  request.set_decision(asked.decision);
  request.mutable_output()->set_token_ids(true);
  request.mutable_output()->set_logprobs(2);
  request.mutable_output()->set_routing(true);
  return request;
}

// The answers to all of kAsked, asked for at once.
std::vector<v1::GenerateResult> Answers(const std::string& address) {
  const auto channel = Channel(address);
  std::vector<v1::GenerateResult> results(std::size(kAsked));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      grpc::ClientContext context;
      const grpc::Status status =
          v1::Inference::NewStub(channel)->GenerateUnary(&context, Request(kAsked[i]), &results[i]);
      EXPECT_TRUE(status.ok()) << kAsked[i].adapter << ": " << status.error_message();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

// Compares greedy tokens and returns how many are the same from the first on: where one is not, the CPU's
// lead was small, and from there on they tell different stories.
int CompareTokens(const v1::Chunk& got, const v1::Chunk& want) {
  EXPECT_EQ(want.token_ids_size(), kTokens);
  EXPECT_EQ(got.token_ids_size(), kTokens);
  for (int t = 0; t < std::min(got.token_ids_size(), want.token_ids_size()); ++t) {
    if (got.token_ids(t) != want.token_ids(t)) {
      EXPECT_LE(want.logprobs(t).top(0).logprob() - want.logprobs(t).top(1).logprob(), kBound)
          << "token " << t;
      return t;
    }
    EXPECT_NEAR(got.logprobs(t).token().logprob(), want.logprobs(t).token().logprob(), kBound);
  }
  return kTokens;
}

// The experts that an MoA has picked. Its routers were trained to tell domains apart: their leads are far
// beyond a rounding.
void CompareRoute(const v1::ExpertRoute& got, const v1::ExpertRoute& want) {
  EXPECT_EQ(want.votes_size(), kLayers);
  EXPECT_EQ(got.decision(), want.decision());
  EXPECT_EQ(got.expert(), want.expert());
  EXPECT_THAT(got.votes(), ElementsAreArray(want.votes()));
}

// How the routers of `same` tokens that are the same weighed their heads: the head that weighed most at each,
// and where all are the same the mean weights, of which each is a softmax or a part of one and so moves by no
// more than half of what its logits move by.
void CompareRouting(const v1::Routing& got, const v1::Routing& want, int same) {
  ASSERT_EQ(got.choices_size(), 1);
  for (int t = 0; t < same; ++t) EXPECT_EQ(got.choices(0).top(t), want.choices(0).top(t)) << "token " << t;
  ASSERT_EQ(want.routers_size(), 3 * kLayers);
  ASSERT_EQ(got.routers_size(), want.routers_size());
  for (int r = 0; same == kTokens && r < want.routers_size(); ++r) {
    ASSERT_EQ(want.routers(r).mean_size(), kHeads);
    for (int e = 0; e < kHeads; ++e) {
      EXPECT_NEAR(got.routers(r).mean(e), want.routers(r).mean(e), kGateBound) << "router " << r;
    }
  }
}

TEST(CudaDaemonTest, StreamsWhatTheCpuStreams) {
  DaemonProcess cuda(Arguments("cuda"), Variables()), cpu(Arguments("cpu"));
  EXPECT_THAT(cuda.AwaitLine("device"), HasSubstr("device cuda ")) << cuda.log();
  EXPECT_THAT(cuda.AwaitLine("memory:"), HasSubstr("adapters 4,"));
  const auto got = Answers(cuda.Address("inference")), want = Answers(cpu.Address("inference"));
  int compared = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE(testing::Message() << kAsked[i].adapter << " " << kAsked[i].top_k);
    ASSERT_EQ(want[i].choices_size(), 1);
    ASSERT_EQ(got[i].choices_size(), 1);
    const int same = CompareTokens(got[i].choices(0), want[i].choices(0));
    compared += same;
    EXPECT_EQ(got[i].start().approximate(), kAsked[i].top_k > 0);
    ASSERT_EQ(got[i].start().has_route(), kAsked[i].decision != v1::DECISION_UNSPECIFIED);
    if (want[i].start().has_route()) CompareRoute(got[i].start().route(), want[i].start().route());
    ASSERT_EQ(got[i].routing_size(), want[i].routing_size());
    EXPECT_EQ(got[i].routing_size(), std::string_view(kAsked[i].adapter) == "domains");
    for (const v1::Routing& routing : want[i].routing()) CompareRouting(got[i].routing(0), routing, same);
  }
  EXPECT_GT(compared, static_cast<int>(want.size()) * kTokens / 2);
  cuda.Signal(SIGTERM);
  EXPECT_EQ(cuda.Wait(), 0) << cuda.log();
}

// A LoRA, a LoRAMoE, two families whose gates pick, and adapters of the embedding and of lm_head.
constexpr const char* kGolden[] = {"llama_lora",
                                   "llama_moe_peft",
                                   "llama_mola",
                                   "llama_hydralora_top",
                                   "llama_dora_embedding_head",
                                   "llama_tied_head",
                                   "llama_saved_embedding",
                                   "llama_trained_tokens"};

// The reference's tokens, each after those before it, where the reference leads by twice what its own bf16
// run is off. Returns how many.
int ExpectTheReferences(v1::Inference::Stub& stub, const std::string& adapter, const nlohmann::json& prompt) {
  std::vector<int> ids = prompt["ids"];
  int compared = 0;
  for (int i = 0; i < kTokens; ++i) {
    const int token = prompt["greedy"]["ids"][i];
    if (prompt["greedy"]["margins"][i] > 2 * prompt["bf16_max_abs_error"].get<float>()) {
      EXPECT_THAT(Greedy(stub, adapter, ids, 1), ElementsAre(token)) << adapter << ", after " << ids.size();
      ++compared;
    }
    ids.push_back(token);
  }
  return compared;
}

TEST(CudaDaemonTest, AnswersAsTheReferenceForEveryFamilyAtOnce) {
  std::vector<std::string> arguments =
      Arguments("cuda", ModelWithATokenizer("llama", "cuda_daemon"), "tests/golden/adapters");
  for (const char* name : kGolden) AddAdapter(name, &arguments);
  DaemonProcess cuda(arguments, Variables());
  const auto stub = v1::Inference::NewStub(Channel(cuda.Address("inference")));
  std::atomic<int> compared = 0;
  std::vector<std::thread> users;
  for (const std::string name : kGolden) {
    const auto golden = nlohmann::json::parse(std::ifstream("tests/golden/cases/" + name + ".json"));
    for (const auto& prompt : golden["prompts"]) {
      users.emplace_back(
          [&stub, &compared, name, prompt] { compared += ExpectTheReferences(*stub, name, prompt); });
    }
  }
  for (std::thread& user : users) user.join();
  EXPECT_GT(compared, static_cast<int>(users.size()) * kTokens / 2);
  std::printf("%d tokens\n", compared.load());
  cuda.Signal(SIGTERM);
  EXPECT_EQ(cuda.Wait(), 0) << cuda.log();
}

// The value of a line of a scrape without labels.
double ValueOf(const std::string& scrape, const std::string& name) {
  const size_t at = scrape.find("\n" + name + " ");
  EXPECT_NE(at, std::string::npos) << name << " in " << scrape;
  return at == std::string::npos ? 0 : std::stod(scrape.substr(at + name.size() + 2));
}

TEST(CudaDaemonTest, TellsPowerAndEnergyWhereTheDriversLibraryDoes) {
  DaemonProcess cuda(Arguments("cuda"), Variables(FAKE_NVML_DIRECTORY));
  const std::string address = cuda.Address("metrics");
  const std::string first = HttpGet(address, "/metrics"), second = HttpGet(address, "/metrics");
  EXPECT_GT(ValueOf(first, "hydrad_power_watts"), 250);
  EXPECT_DOUBLE_EQ(ValueOf(first, "hydrad_energy_joules_total"), 1.5);
  EXPECT_DOUBLE_EQ(ValueOf(second, "hydrad_energy_joules_total"), 3);
  EXPECT_DOUBLE_EQ(ValueOf(second, "hydrad_device_utilization_ratio"), 0.75);
  cuda.Signal(SIGTERM);
  EXPECT_EQ(cuda.Wait(), 0) << cuda.log();
}

// A file of its name that is no library is found first, also where the driver brings a sound one.
TEST(CudaDaemonTest, ServesWithoutThatLibrary) {
  const std::string directory = testing::TempDir() + "hydrad_no_nvml";
  std::filesystem::create_directories(directory);
  std::ofstream(directory + "/libnvidia-ml.so.1") << "no library";
  DaemonProcess cuda(Arguments("cuda"), Variables(directory));
  EXPECT_THAT(cuda.AwaitLine("power"),
              HasSubstr("no series of power and energy: " + directory + "/libnvidia-ml.so.1"));
  const std::string scrape = HttpGet(cuda.Address("metrics"), "/metrics");
  EXPECT_THAT(scrape, HasSubstr("hydrad_requests_running 0"));
  EXPECT_THAT(scrape, Not(HasSubstr("hydrad_energy_joules_total")));
}

}  // namespace
}  // namespace hydrad
