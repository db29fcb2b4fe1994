// The whole line of a request, over a real connection: the tiny model on the CPU, the real scheduler,
// adapters made up in memory.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/model/transformer.h"
#include "server/rpc/server.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"
#include "tests/fakes/keep_grpc.h"
#include "tests/rpc/gated_model.h"
#include "tests/rpc/served_fixture.h"

namespace hydrad {
namespace {

using grpc::StatusCode;

// Steps after which a stream has begun and is far from its end: the prompt, and a few tokens, of which the
// first may be no whole character.
constexpr int kBegin = 10;

// LoRA of rank 2 on q_proj of the tiny model's first two layers, strong enough to change what it says.
AdapterFiles TinyLora(uint32_t seed) {
  AdapterFiles files = PlainLora();
  files.tensors.clear();
  files.config["target_modules"] = {"q_proj"};
  files.config["layers_to_transform"] = {0, 1};
  files.config["lora_alpha"] = 4000;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string module = kPrefix + std::to_string(layer) + ".self_attn.q_proj.";
    files.tensors[module + "lora_A.weight"] = MakeTensor("F32", {2, 128}, seed + 2 * layer);
    files.tensors[module + "lora_B.weight"] = MakeTensor("F32", {128, 2}, seed + 2 * layer + 1);
  }
  return files;
}

// An MoA of two of them, "poems" and "sums", with routers in all of the model's layers.
AdapterFiles TinyMoa(int layers, uint32_t sums = 100) {
  AdapterFiles files = Moa();
  files.tensors.clear();
  files.config["r"] = 2;
  files.config["target_modules"] = {"q_proj"};
  files.config["layers_to_transform"] = {0, 1};
  files.config["lora_alpha"] = 4000;
  for (const auto& [expert, seed] : {std::pair("poems", 1u), std::pair("sums", sums)}) {
    for (const auto& [name, tensor] : TinyLora(seed).tensors) {
      const size_t end = name.rfind(".weight");
      files.tensors[name.substr(0, end) + "." + expert + ".weight"] = tensor;
    }
  }
  for (int layer = 0; layer < layers; ++layer) {
    const std::string router = kPrefix + std::to_string(layer) + ".moa_router.";
    files.tensors[router + "weight"] = MakeTensor("F32", {2, 128}, 200 + static_cast<uint32_t>(layer));
    files.tensors[router + "bias"] = MakeTensor("F32", {2}, 300 + static_cast<uint32_t>(layer));
  }
  return files;
}

class ServingTest : public testing::Test {
 protected:
  explicit ServingTest(SchedulerOptions options = {.max_running = 4, .max_waiting = 1, .prefill_chunk = 32}) {
    KeepGrpc();
    disk_.Put("one", TinyLora(1).Bytes());
    disk_.Put("two", TinyLora(100).Bytes());
    backend_ = MakeCpuBackend({.threads = 1, .weight_type = DType::kF32});
    tokenizer_ = *Tokenizer::Load(std::string(kTinyModelDir) + "/tokenizer.json");
    // Blocks for one full sequence: what is not given back is missed at once.
    ModelLimits limits;
    limits.max_rows = 64;
    limits.max_logit_rows = 32;
    limits.max_context = 512;
    limits.kv_blocks = 32;
    model_ = std::make_unique<GatedModel>(*LoadTransformer(kTinyModelDir, *backend_, limits));
    audit_ = *AuditLog::Open("", SteadyClock());
    store_ = std::make_unique<AdapterStore>(AdapterStoreOptions{}, std::make_unique<FakeDisk>(disk_),
                                            *backend_, model_->config(), SteadyClock());
    options.step_done = [this] { delivery_.StepDone(); };
    scheduler_ = std::make_unique<Scheduler>(options, *model_, *tokenizer_, SteadyClock(), metrics_);
    calls_ = CallsOf(*scheduler_);
    intake_ = std::make_unique<Intake>(Rooms{.scheduler = calls_,
                                             .adapters = *store_,
                                             .admission = admission_,
                                             .tokenizer = *tokenizer_,
                                             .metrics = metrics_,
                                             .audit = *audit_,
                                             .delivery = delivery_,
                                             .clock = SteadyClock(),
                                             .limits = {.vocab_size = model_->config().vocab_size,
                                                        .max_context = limits.max_context,
                                                        .max_prompt_bytes = 8192},
                                             .chat = std::make_shared<const ChatFormat>(ChatFiles())});
    server_ = *Server::Start({}, *intake_, admission_, {}, [] {});
    inference_ =
        v1::Inference::NewStub(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    admin_ =
        v1::Admin::NewStub(grpc::CreateChannel(server_->admin_address(), grpc::InsecureChannelCredentials()));
  }
  ~ServingTest() override {
    model_->Open();
    scheduler_->Drain(Duration(0));
    server_.reset();
  }

  // Greedy, and as long as it is told.
  static v1::GenerateRequest Ask(const std::string& text, int max_tokens, const std::string& adapter = "") {
    v1::GenerateRequest request;
    request.set_text(text);
    request.set_adapter(adapter);
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(max_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_output()->set_token_ids(true);
    return request;
  }
  grpc::Status Unary(const v1::GenerateRequest& request, v1::GenerateResult* result) {
    Call call;
    return inference_->GenerateUnary(&call, request, result);
  }
  std::string UnaryText(const v1::GenerateRequest& request) {
    v1::GenerateResult result;
    const grpc::Status status = Unary(request, &result);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return result.choices_size() > 0 ? result.choices(0).text() : "";
  }
  grpc::Status LoadAdapter(const std::string& name, const std::string& path) {
    Call call;
    v1::LoadAdapterRequest request;
    request.set_name(name);
    request.set_path(path);
    v1::Adapter adapter;
    return admin_->LoadAdapter(&call, request, &adapter);
  }

  // A stream whose text is joined as it is read.
  struct Stream {
    Stream(v1::Inference::Stub& stub, const v1::GenerateRequest& request)
        : reader(stub.Generate(&call, request)) {}
    bool Read() {
      if (!reader->Read(&message)) return false;
      if (message.has_start()) start = message.start();
      if (message.has_chunk()) {
        text += message.chunk().text();
        tokens.insert(tokens.end(), message.chunk().token_ids().begin(), message.chunk().token_ids().end());
      }
      if (message.has_end()) usage = message.end().usage();
      return true;
    }
    grpc::Status Finish() {
      while (Read()) continue;
      return reader->Finish();
    }
    Call call;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
    v1::GenerateResponse message;
    v1::Start start;
    v1::Usage usage;
    std::string text;
    std::vector<int32_t> tokens;
  };

  FakeDisk disk_;
  Metrics metrics_;
  Admission admission_{{}, SteadyClock()};
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<GatedModel> model_;
  std::unique_ptr<AdapterStore> store_;
  Delivery delivery_{UnreadBounds()};
  std::unique_ptr<Scheduler> scheduler_;
  SchedulerCalls calls_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

TEST_F(ServingTest, AnMoaPicksAnExpertAndSaysWhich) {
  const int layers = model_->config().num_layers;
  disk_.Put("mix", TinyMoa(layers).Bytes());
  ASSERT_TRUE(LoadAdapter("mix", "mix").ok());
  const auto answer = [&](const std::string& expert, v1::Decision decision) {
    v1::GenerateRequest request = Ask("Once upon a time", 4, "mix");
    request.set_expert(expert);
    request.set_decision(decision);
    v1::GenerateResult result;
    const grpc::Status status = Unary(request, &result);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return result;
  };
  const v1::GenerateResult voted = answer("", v1::DECISION_UNSPECIFIED);
  const v1::ExpertRoute& route = voted.start().route();
  EXPECT_EQ(route.decision(), v1::DECISION_VOTE);
  EXPECT_EQ(route.votes_size(), layers);
  ASSERT_TRUE(route.expert() == "poems" || route.expert() == "sums") << route.expert();
  const v1::GenerateResult named = answer(route.expert(), v1::DECISION_UNSPECIFIED);
  EXPECT_EQ(named.start().route().decision(), v1::DECISION_LABEL);
  EXPECT_EQ(named.choices(0).text(), voted.choices(0).text());
  EXPECT_NE(answer(route.expert() == "sums" ? "poems" : "sums", v1::DECISION_LABEL).choices(0).text(),
            voted.choices(0).text());
  const v1::GenerateResult layered = answer("", v1::DECISION_LAYER);
  EXPECT_EQ(layered.start().route().expert(), "");
  EXPECT_EQ(layered.start().route().votes_size(), layers);
}

TEST_F(ServingTest, AnExpertThatIsNotThereEndsTheRequestWithThoseThatAre) {
  disk_.Put("mix", TinyMoa(model_->config().num_layers).Bytes());
  ASSERT_TRUE(LoadAdapter("mix", "mix").ok() && LoadAdapter("one", "one").ok());
  const auto refusal = [&](const std::string& adapter, const std::string& expert) {
    v1::GenerateRequest request = Ask("x", 2, adapter);
    request.set_expert(expert);
    v1::GenerateResult result;
    const grpc::Status status = Unary(request, &result);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  EXPECT_THAT(refusal("mix", "jokes"), testing::HasSubstr("expert: 'jokes' is not one of poems, sums"));
  EXPECT_THAT(refusal("one", "sums"), testing::HasSubstr("expert: adapter 'one' does not hold experts"));
}

TEST_F(ServingTest, StreamAndUnarySayTheSame) {
  const v1::GenerateRequest request = Ask("Once upon a time", 40);
  v1::GenerateResult result;
  ASSERT_TRUE(Unary(request, &result).ok());
  Stream stream(*inference_, request);
  ASSERT_TRUE(stream.Finish().ok());
  EXPECT_EQ(stream.text, result.choices(0).text());
  EXPECT_EQ(stream.tokens,
            std::vector<int32_t>(result.choices(0).token_ids().begin(), result.choices(0).token_ids().end()));
  EXPECT_EQ(stream.tokens.size(), 40u);
  EXPECT_EQ(stream.usage.generated_tokens(), 40);
  EXPECT_EQ(stream.usage.prompt_tokens(), result.usage().prompt_tokens());
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(ServingTest, ASeedFixesTheSample) {
  v1::GenerateRequest request = Ask("Once upon a time", 30);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(11);
  const std::string text = UnaryText(request);
  EXPECT_EQ(UnaryText(request), text);
  request.mutable_sampling()->set_seed(12);
  EXPECT_NE(UnaryText(request), text);
}

TEST_F(ServingTest, ChoicesLogprobsAndEcho) {
  v1::GenerateRequest request = Ask("Once upon a time", 5);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(3);
  request.mutable_sampling()->set_n(3);
  request.mutable_output()->set_logprobs(2);
  request.mutable_output()->set_prompt_logprobs(1);
  request.mutable_output()->set_echo(true);
  v1::GenerateResult result;
  const grpc::Status status = Unary(request, &result);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(result.choices_size(), 3);
  for (const v1::Chunk& choice : result.choices()) {
    EXPECT_THAT(choice.text(), testing::StartsWith("Once upon a time"));
    ASSERT_EQ(choice.logprobs_size(), 5);
    EXPECT_EQ(choice.logprobs(0).top_size(), 2);
    EXPECT_EQ(choice.logprobs(0).token().token(), choice.token_ids(0));
    EXPECT_LE(choice.logprobs(0).token().logprob(), 0);
  }
  EXPECT_EQ(result.start().prompt_logprobs_size(), result.start().prompt_tokens() - 1);
  EXPECT_EQ(result.usage().generated_tokens(), 15);
}

TEST_F(ServingTest, AnAdapterChangesOnlyItsOwnRequests) {
  const std::string base = UnaryText(Ask("Once upon a time", 30));
  ASSERT_TRUE(LoadAdapter("one", "one").ok());
  const std::string adapted = UnaryText(Ask("Once upon a time", 30, "one"));
  EXPECT_NE(adapted, base);
  EXPECT_EQ(UnaryText(Ask("Once upon a time", 30)), base);
}

TEST_F(ServingTest, AdaptersAreComposedByWeight) {
  ASSERT_TRUE(LoadAdapter("one", "one").ok());
  ASSERT_TRUE(LoadAdapter("two", "two").ok());
  const auto compose = [&](float one, float two) {
    v1::GenerateRequest request = Ask("Once upon a time", 30);
    for (const auto& [name, weight] : {std::pair{"one", one}, {"two", two}}) {
      v1::WeightedAdapter* adapter = request.add_adapters();
      adapter->set_name(name);
      adapter->set_weight(weight);
    }
    v1::GenerateResult result;
    const grpc::Status status = Unary(request, &result);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(result.start().adapter(), "");
    EXPECT_EQ(result.start().adapters_size(), 2);
    EXPECT_EQ(result.start().adapters(1).name(), "two");
    EXPECT_EQ(result.start().adapters(1).weight(), two);
    EXPECT_GT(result.start().adapters(1).generation(), 0u);
    return result.choices(0).text();
  };
  const std::string base = UnaryText(Ask("Once upon a time", 30));
  EXPECT_EQ(compose(1, 0), UnaryText(Ask("Once upon a time", 30, "one")));
  EXPECT_EQ(compose(0, 1), UnaryText(Ask("Once upon a time", 30, "two")));
  EXPECT_EQ(compose(0, 0), base);
  EXPECT_NE(compose(0.5f, 0.5f), base);
}

TEST_F(ServingTest, ACancelGivesTheBlocksBack) {
  {
    model_->CloseAfter(kBegin);
    Stream stream(*inference_, Ask("Once upon a time", 500));
    ASSERT_TRUE(stream.Read());
    stream.call.TryCancel();
    EXPECT_EQ(stream.Finish().error_code(), StatusCode::CANCELLED);
    model_->Open();
  }
  // Needs every block there is.
  v1::GenerateResult result;
  EXPECT_TRUE(Unary(Ask("Once upon a time", 500), &result).ok());
  EXPECT_GT(result.usage().generated_tokens(), 450);
}

TEST_F(ServingTest, AFullQueueRefuses) {
  model_->Close();
  Stream running(*inference_, Ask("One", 3));
  model_->AwaitStep();
  // One of the two finds the only place taken, and is answered while nothing moves.
  std::promise<grpc::Status> first_answer;
  std::atomic<int> answers = 0;
  const auto ask = [&](grpc::Status* status) {
    v1::GenerateResult result;
    *status = Unary(Ask("Two", 3), &result);
    if (answers++ == 0) first_answer.set_value(*status);
  };
  grpc::Status a, b;
  std::thread one(ask, &a), two(ask, &b);
  const grpc::Status refused = first_answer.get_future().get();
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(WireReason(refused), "QUEUE_FULL");
  EXPECT_TRUE(HasRetryInfo(refused));
  model_->Open();
  one.join();
  two.join();
  EXPECT_TRUE(a.ok() || b.ok());
  EXPECT_TRUE(running.Finish().ok());
}

TEST_F(ServingTest, ADeadlineEndsTheRequest) {
  model_->Close();
  Call call;
  call.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  v1::GenerateResult result;
  EXPECT_EQ(inference_->GenerateUnary(&call, Ask("One", 500), &result).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  model_->Open();
  EXPECT_TRUE(Unary(Ask("One", 500), &result).ok()) << "its blocks came back";
}

TEST_F(ServingTest, AReplaceLeavesARunningStreamItsGeneration) {
  ASSERT_TRUE(LoadAdapter("a", "one").ok());
  const std::string with_one = UnaryText(Ask("Once upon a time", 60, "a"));
  model_->CloseAfter(kBegin);  // loading does not need the scheduler
  Stream stream(*inference_, Ask("Once upon a time", 60, "a"));
  ASSERT_TRUE(stream.Read());
  ASSERT_TRUE(LoadAdapter("a", "two").ok());
  model_->Open();
  v1::GenerateResult result;
  ASSERT_TRUE(Unary(Ask("Once upon a time", 60, "a"), &result).ok());
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(stream.text, with_one);
  EXPECT_GT(result.start().generation(), stream.start.generation());
  EXPECT_NE(result.choices(0).text(), with_one);
}

// Two streams run, one on each expert, while one of the experts is replaced.
TEST_F(ServingTest, ReplacingAnExpertLeavesRunningStreamsWhatTheyHave) {
  const int layers = model_->config().num_layers;
  disk_.Put("mix", TinyMoa(layers).Bytes());
  ASSERT_TRUE(LoadAdapter("mix", "mix").ok());
  const uint64_t bytes = store_->device_bytes_used();
  const auto ask = [](const std::string& expert) {
    v1::GenerateRequest request = Ask("Once upon a time", 60, "mix");
    request.set_expert(expert);
    return request;
  };
  const std::string poems = UnaryText(ask("poems")), sums = UnaryText(ask("sums"));
  {
    model_->CloseAfter(kBegin);
    Stream first(*inference_, ask("poems"));
    ASSERT_TRUE(first.Read());
    model_->AwaitStep();
    Stream second(*inference_, ask("sums"));
    while (scheduler_->status().waiting == 0) std::this_thread::yield();
    model_->CloseAfter(kBegin);
    ASSERT_TRUE(second.Read());
    disk_.Put("mix", TinyMoa(layers, 500).Bytes());
    ASSERT_TRUE(LoadAdapter("mix", "mix").ok());
    const AdapterInfo info = *store_->Get("mix");
    ASSERT_EQ(info.components.size(), 3u);
    EXPECT_EQ(store_->device_bytes_used(), bytes + info.components[2].device_bytes)
        << "the rest is there once";
    model_->Open();
    EXPECT_TRUE(first.Finish().ok() && second.Finish().ok());
    EXPECT_EQ(first.text, poems);
    EXPECT_EQ(second.text, sums);
  }
  EXPECT_EQ(UnaryText(ask("poems")), poems);
  EXPECT_NE(UnaryText(ask("sums")), sums);
  while (store_->device_bytes_used() != bytes) std::this_thread::yield();
  v1::GetAdapterRequest request;
  request.set_name("mix");
  Call call;
  v1::Adapter adapter;
  ASSERT_TRUE(admin_->GetAdapter(&call, request, &adapter).ok());
  ASSERT_EQ(adapter.moa_experts_size(), 2);
  EXPECT_LT(adapter.moa_experts(0).generation(), adapter.moa_experts(1).generation());
  EXPECT_EQ(adapter.moa_experts(1).generation(), adapter.generation());
  EXPECT_NE(adapter.moa_experts(0).etag(), adapter.moa_experts(1).etag());
}

TEST_F(ServingTest, AnUnloadWaitsForTheStreamAndGivesTheMemoryBack) {
  ASSERT_TRUE(LoadAdapter("a", "one").ok());
  model_->CloseAfter(kBegin);
  Stream stream(*inference_, Ask("Once upon a time", 60, "a"));
  ASSERT_TRUE(stream.Read());
  grpc::Status unloaded;
  std::thread client([&] {
    Call call;
    v1::UnloadAdapterRequest request;
    request.set_name("a");
    v1::Adapter adapter;
    unloaded = admin_->UnloadAdapter(&call, request, &adapter);
  });
  while (store_->Acquire("a").ok()) std::this_thread::yield();
  v1::GenerateResult result;
  EXPECT_EQ(Unary(Ask("x", 1, "a"), &result).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_GT(store_->device_bytes_used(), 0u);
  model_->Open();
  EXPECT_TRUE(stream.Finish().ok());
  client.join();
  EXPECT_TRUE(unloaded.ok()) << unloaded.error_message();
  EXPECT_EQ(store_->device_bytes_used(), 0u);
  EXPECT_EQ(Unary(Ask("x", 1, "a"), &result).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(ServingTest, ADrainLetsRunningStreamsEndAndRefusesOthers) {
  const std::string whole = UnaryText(Ask("Once upon a time", 60));
  model_->CloseAfter(kBegin);
  Stream stream(*inference_, Ask("Once upon a time", 60));
  ASSERT_TRUE(stream.Read());
  intake_->Close();
  std::thread drain([this] { scheduler_->Drain(std::chrono::hours(1)); });
  v1::GenerateResult result;
  const grpc::Status refused = Unary(Ask("x", 1), &result);
  EXPECT_EQ(refused.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(WireReason(refused), "DRAINING");
  model_->Open();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(stream.text, whole);
  drain.join();
}

TEST_F(ServingTest, ADrainWithoutTimeCancels) {
  model_->CloseAfter(kBegin);
  Stream stream(*inference_, Ask("Once upon a time", 500));
  ASSERT_TRUE(stream.Read());
  std::thread drain([this] { scheduler_->Drain(Duration(0)); });
  while (!scheduler_->status().draining) std::this_thread::yield();
  model_->Open();
  drain.join();
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
}

}  // namespace
}  // namespace hydrad
