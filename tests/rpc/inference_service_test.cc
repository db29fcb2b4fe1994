#include "server/rpc/inference_service.h"

#include <gmock/gmock.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <thread>

#include "server/base/status.h"
#include "tests/rpc/served_fixture.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

class InferenceServiceTest : public ServedFixture {
 protected:
  using ServedFixture::ServedFixture;
  using Reader = std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>>;

  static std::vector<v1::GenerateResponse> ReadAll(const Reader& reader) {
    std::vector<v1::GenerateResponse> messages;
    for (v1::GenerateResponse message; reader->Read(&message);) messages.push_back(message);
    return messages;
  }
  static v1::ChatRequest Say(const std::string& text, const std::string& adapter = "") {
    v1::ChatRequest message;
    v1::ChatMessage& said = *message.add_messages();
    said.set_role("user");
    said.set_content(text);
    message.set_adapter(adapter);
    return message;
  }
  // A good answer, as the scheduler would give it.
  static void Play(Request& request) {
    request.sink->OnStart({.prompt_logprobs = {}, .generations = {7}});
    request.sink->OnPiece(Piece("Hel", {1, 2}));
    request.sink->OnPiece(Piece("lo", {3}, true));
    Usage usage;
    usage.prompt_tokens = static_cast<int>(request.prompt.size());
    usage.generated_tokens = 3;
    request.sink->OnDone(absl::OkStatus(), usage);
  }
};

TEST_F(InferenceServiceTest, StreamsStartChunksEnd) {
  ASSERT_TRUE(Load("one", "one").ok());
  Call call("key-acme");
  v1::GenerateRequest message = Ask("Once upon", "one");
  message.mutable_output()->set_token_ids(true);
  const Reader reader = inference_->Generate(&call, message);
  Request request = scheduler_.Take();
  EXPECT_EQ(request.adapter.name(), "one");
  Play(request);
  const auto messages = ReadAll(reader);
  const grpc::Status status = FinishOf(*reader);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].start().adapter(), "one");
  EXPECT_EQ(messages[0].start().generation(), 7u);
  EXPECT_EQ(messages[0].start().prompt_tokens(), static_cast<int>(request.prompt.size()));
  EXPECT_THAT(messages[0].start().request_id(), testing::StartsWith("req-"));
  EXPECT_EQ(messages[1].chunk().text(), "Hel");
  EXPECT_THAT(messages[1].chunk().token_ids(), ElementsAre(1, 2));
  EXPECT_EQ(messages[2].chunk().finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(messages[3].end().usage().generated_tokens(), 3);
}

TEST_F(InferenceServiceTest, TheUnaryTwinSaysTheSame) {
  v1::GenerateResult result;
  grpc::Status status;
  std::thread client([&] {
    Call call("key-acme");
    v1::GenerateRequest message = Ask("Once upon");
    message.mutable_output()->set_echo(true);
    status = inference_->GenerateUnary(&call, message, &result);
  });
  Request request = scheduler_.Take();
  Play(request);
  client.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(result.choices_size(), 1);
  EXPECT_EQ(result.choices(0).text(), "Once uponHello");
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.usage().generated_tokens(), 3);
}

TEST_F(InferenceServiceTest, ARefusalCarriesItsDetails) {
  Call call("key-globex");
  const Reader reader = inference_->Generate(&call, Ask("x", "nobody"));
  EXPECT_TRUE(ReadAll(reader).empty());
  const grpc::Status status = FinishOf(*reader);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(WireReason(status), "ADAPTER_NOT_FOUND");
  EXPECT_THAT(status.error_message(), HasSubstr("nobody"));
}

TEST_F(InferenceServiceTest, AFullQueueSaysWhenToRetry) {
  scheduler_.Answer(ResourceExhausted("full"));
  for (const bool unary : {false, true}) {
    Call call("key-globex");
    grpc::Status status;
    v1::GenerateResult result;
    if (unary) {
      status = inference_->GenerateUnary(&call, Ask("x"), &result);
    } else {
      status = FinishOf(*inference_->Generate(&call, Ask("x")));
    }
    EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(WireReason(status), "QUEUE_FULL");
    EXPECT_TRUE(HasRetryInfo(status));
  }
}

TEST_F(InferenceServiceTest, EveryMethodWantsAKey) {
  const auto expect = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(WireReason(status), "INVALID_KEY");
  };
  v1::GenerateResult result;
  v1::TokenizeResponse tokens;
  v1::DetokenizeResponse text;
  v1::ListModelsResponse models;
  for (const char* key : {"", "wrong"}) {
    Call a(key), b(key), c(key), d(key), e(key), f(key), g(key);
    expect(FinishOf(*inference_->Chat(&f, Say("x"))));
    expect(inference_->ChatUnary(&g, Say("x"), &result));
    expect(FinishOf(*inference_->Generate(&a, Ask("x"))));
    expect(inference_->GenerateUnary(&b, Ask("x"), &result));
    expect(inference_->Tokenize(&c, {}, &tokens));
    expect(inference_->Detokenize(&d, {}, &text));
    expect(inference_->ListModels(&e, {}, &models));
  }
  EXPECT_EQ(scheduler_.submitted(), 0u);
}

TEST_F(InferenceServiceTest, AConversationIsAnsweredAsAPromptIs) {
  ASSERT_TRUE(Load("one", "one").ok());
  Call call("key-acme");
  const Reader reader = inference_->Chat(&call, Say("Hi", "one"));
  Request request = scheduler_.Take();
  EXPECT_EQ(request.adapter.name(), "one");
  EXPECT_EQ(tokenizer_->Decode(request.prompt, false), "<|user|>\nHi<|end|>\n<|assistant|>\n");
  Play(request);
  const auto messages = ReadAll(reader);
  ASSERT_TRUE(FinishOf(*reader).ok());
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].start().adapter(), "one");
  EXPECT_EQ(messages[1].chunk().text(), "Hel");
  v1::GenerateResult result;
  grpc::Status status;
  std::thread client([&] {
    Call unary("key-acme");
    status = inference_->ChatUnary(&unary, Say("Hi"), &result);
  });
  request = scheduler_.Take();
  Play(request);
  client.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(result.choices(0).text(), "Hello");
}

TEST_F(InferenceServiceTest, WhatIsWrongWithAConversationIsNamed) {
  v1::GenerateResult result;
  Call none("key-acme"), bad("key-acme"), other("key-acme");
  const grpc::Status empty = inference_->ChatUnary(&none, {}, &result);
  EXPECT_EQ(empty.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(empty.error_message(), testing::StartsWith("messages must not be empty"));
  v1::ChatRequest message = Say("Hi");
  message.add_messages()->set_role("a b");
  EXPECT_THAT(inference_->ChatUnary(&bad, message, &result).error_message(),
              testing::StartsWith("messages[1].role must be"));
  EXPECT_EQ(inference_->ChatUnary(&other, Say("Hi", "two"), &result).error_code(),
            StatusCode::PERMISSION_DENIED);
}

TEST_F(InferenceServiceTest, ModelsTellWhetherTheyChat) {
  AdapterFiles broken = PlainLora(4);
  broken.extra = {{"chat_template.jinja", "{% for %}"}};
  disk_.Put("broken", broken.Bytes());
  ASSERT_TRUE(Load("one", "one").ok());
  ASSERT_TRUE(Load("broken", "broken").ok());
  Call call("key-globex");
  v1::ListModelsResponse models;
  ASSERT_TRUE(inference_->ListModels(&call, {}, &models).ok());
  std::map<std::string, bool> chat;
  for (const auto& model : models.models()) chat[model.name()] = model.chat();
  EXPECT_EQ(chat, (std::map<std::string, bool>{{"", true}, {"broken", false}, {"one", true}}));
}

TEST_F(InferenceServiceTest, WrongKeysOfOnePeerAreSlowedAndCounted) {
  v1::ListModelsResponse models;
  grpc::Status status;
  for (int i = 0; i <= WrongKeys::kBurst; ++i) {
    Call call("wrong");
    status = inference_->ListModels(&call, {}, &models);
    if (i == 0) {
      EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
    }
  }
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(WireReason(status), "TOO_MANY_WRONG_KEYS");
  EXPECT_TRUE(HasRetryInfo(status));
  Call basic;
  basic.AddMetadata("authorization", "Basic key-acme");
  EXPECT_EQ(inference_->ListModels(&basic, {}, &models).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  Call right("key-acme");
  EXPECT_TRUE(inference_->ListModels(&right, {}, &models).ok());
  v1::ServerStatus server;
  Call admin("wrong");
  EXPECT_EQ(admin_->GetServerStatus(&admin, {}, &server).error_code(), StatusCode::UNAUTHENTICATED)
      << "each listener counts its own";
  EXPECT_THAT(prometheus::TextSerializer().Serialize(metrics_.collectable()->Collect()),
              HasSubstr("hydrad_rejected_total{reason=\"auth_slowed\"} 2\n"));
}

TEST_F(InferenceServiceTest, AKeyMustBeABearerKeyAndAlone) {
  v1::ListModelsResponse models;
  Call basic;
  basic.AddMetadata("authorization", "Basic key-acme");
  EXPECT_EQ(inference_->ListModels(&basic, {}, &models).error_code(), StatusCode::UNAUTHENTICATED);
  Call two("key-acme");
  two.AddMetadata("authorization", "Bearer key-globex");
  EXPECT_EQ(inference_->ListModels(&two, {}, &models).error_code(), StatusCode::UNAUTHENTICATED);
}

TEST_F(InferenceServiceTest, AClientThatCancelsCancelsItsRequest) {
  Call call("key-acme");
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  request.sink->OnStart({});
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  call.TryCancel();
  const auto [id, why] = scheduler_.TakeCancel();
  EXPECT_EQ(id, request.id);
  EXPECT_EQ(why.code(), absl::StatusCode::kCancelled);
  request.sink->OnDone(why, {});
  EXPECT_EQ(FinishOf(*reader).error_code(), StatusCode::CANCELLED);
}

TEST_F(InferenceServiceTest, AUnaryClientThatCancelsCancelsItsRequest) {
  Call call("key-acme");
  grpc::Status status;
  std::thread client([&] {
    v1::GenerateResult result;
    status = inference_->GenerateUnary(&call, Ask("x"), &result);
  });
  Request request = scheduler_.Take();
  call.TryCancel();
  const auto [id, why] = scheduler_.TakeCancel();
  EXPECT_EQ(id, request.id);
  request.sink->OnDone(why, {});
  client.join();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
}

TEST_F(InferenceServiceTest, TheCallsDeadlineIsTheRequests) {
  Call call("key-acme");
  call.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  ASSERT_TRUE(request.deadline.has_value());
  // On the wire a timeout is rounded up to one of a few digits.
  EXPECT_LE(*request.deadline, clock_.Now() + std::chrono::minutes(61));
  EXPECT_GT(*request.deadline, clock_.Now() + std::chrono::minutes(50));
  request.sink->OnDone(DeadlineExceeded("the request's deadline has passed"), {});
  EXPECT_EQ(FinishOf(*reader).error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(InferenceServiceTest, WithoutADeadlineARequestHasNone) {
  Call call("key-acme");
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  EXPECT_FALSE(request.deadline.has_value());
  Play(request);
  EXPECT_TRUE(FinishOf(*reader).ok());
}

TEST_F(InferenceServiceTest, AnErrorAfterTokensComesAfterThem) {
  Call call("key-acme");
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  request.sink->OnStart({});
  request.sink->OnPiece(Piece("a"));
  request.sink->OnDone(DataLoss("the logits hold a NaN"), {});
  EXPECT_EQ(ReadAll(reader).size(), 2u);
  const grpc::Status status = FinishOf(*reader);
  EXPECT_EQ(status.error_code(), StatusCode::DATA_LOSS);
  EXPECT_EQ(WireReason(status), "DATA_LOSS");
}

// A client may only retry by itself while nothing, not even the initial metadata, has come.
TEST_F(InferenceServiceTest, AFailureBeforeTheFirstTokenIsRetriedByTheClientsPolicy) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{}], "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
      "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
  const auto stub = v1::Inference::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  size_t messages = 0;
  grpc::Status status;
  std::thread client([&] {  // a client only notices the failure, and retries, while it reads
    Call call("key-globex");
    const Reader reader = stub->Generate(&call, Ask("x"));
    messages = ReadAll(reader).size();
    status = reader->Finish();
  });
  Request first = scheduler_.Take();
  first.sink->OnDone(Unavailable("the server is shutting down"), {});
  Request second = scheduler_.Take();
  EXPECT_NE(first.id, second.id);
  Play(second);
  client.join();
  EXPECT_EQ(messages, 4u);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(InferenceServiceTest, TokenizeAndBack) {
  Call call("key-acme"), back("key-acme");
  v1::TokenizeRequest request;
  request.set_text("Once upon a \u4e16");
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(inference_->Tokenize(&call, request, &tokens).ok());
  EXPECT_EQ(tokens.token_ids_size(), tokens.tokens_size());
  EXPECT_EQ(std::vector<int32_t>(tokens.token_ids().begin(), tokens.token_ids().end()),
            tokenizer_->Encode(request.text(), true, false));
  v1::DetokenizeRequest ids;
  *ids.mutable_token_ids() = tokens.token_ids();
  v1::DetokenizeResponse text;
  ASSERT_TRUE(inference_->Detokenize(&back, ids, &text).ok());
  EXPECT_EQ(text.text(), tokenizer_->Decode(tokenizer_->Encode(request.text(), true, false), true));
}

TEST_F(InferenceServiceTest, ListModelsShowsATenantOnlyItsOwn) {
  ASSERT_TRUE(Load("one", "one").ok());
  ASSERT_TRUE(Load("two", "two").ok());
  const auto names = [&](const char* key) {
    Call call(key);
    v1::ListModelsResponse models;
    EXPECT_TRUE(inference_->ListModels(&call, {}, &models).ok());
    EXPECT_EQ(models.base_model(), "tiny");
    std::vector<std::string> names;
    for (const auto& model : models.models()) names.push_back(model.name());
    return names;
  };
  EXPECT_THAT(names("key-acme"), ElementsAre("", "one"));
  EXPECT_THAT(names("key-globex"), ElementsAre("", "one", "two"));
}

class StalledReaderTest : public InferenceServiceTest {
 protected:
  StalledReaderTest() : InferenceServiceTest(Small()) {
    grpc::ChannelArguments windows;  // that do not grow
    windows.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    inference_ = v1::Inference::NewStub(
        grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), windows));
  }
  static ServerOptions Small() {
    ServerOptions options;
    options.unread = {.stream_bytes = 1 << 20, .tenant_bytes = 4 << 20, .stall = std::chrono::seconds(30)};
    return options;
  }
  // Pieces until the queue takes no more. What the connection itself takes in is bounded by HTTP/2's windows.
  static void Fill(Request& request) {
    request.sink->OnStart({});
    const std::string text(64 << 10, 'x');
    int pieces = 0;
    while (request.sink->OnPiece(Piece(text))) ASSERT_LT(++pieces, 10'000) << "nothing bounds the stream";
  }
  // A stream of which one message is stuck in gRPC.
  struct Stuck {
    Stuck(v1::Inference::Stub& stub, FakeScheduler& scheduler, const std::string& key) : call(key) {
      reader = stub.Generate(&call, Ask("x"));
      request = scheduler.Take();
      request.sink->OnStart({});
      for (int i = 0; i < 12; ++i) request.sink->OnPiece(Piece(std::string(64 << 10, 'x')));
    }
    Call call;
    Reader reader;
    Request request;
  };
};

TEST_F(StalledReaderTest, LosesItsRequestAndIsToldWhy) {
  Call call("key-acme");
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  Fill(request);
  request.sink->OnDone(Cancelled("the reader stalled"), {});
  ReadAll(reader);
  const grpc::Status status = FinishOf(*reader);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(WireReason(status), "READER_STALLED");
}

TEST_F(StalledReaderTest, HoldsItsPlaceUntilItsAnswerIsTaken) {
  Call call("key-acme"), other("key-acme"), again("key-acme");
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  request.sink->OnStart({});
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(request.sink->OnPiece(Piece(std::string(64 << 10, 'x'))));
  request.sink->OnDone(absl::OkStatus(), {});
  request = {};
  const grpc::Status refused = FinishOf(*inference_->Generate(&other, Ask("x")));
  EXPECT_EQ(WireReason(refused), "TENANT_LIMIT") << "the scheduler is done with it, its reader is not";
  EXPECT_TRUE(FinishOf(*reader).ok());
  const Reader next = inference_->Generate(&again, Ask("x"));
  Request second = scheduler_.Take();
  Play(second);
  EXPECT_TRUE(FinishOf(*next).ok()) << "whoever has read all may ask again at once";
}

TEST_F(StalledReaderTest, WhoTakesNothingForTooLongLosesTheCallAndItsMemory) {
  Stuck stuck(*inference_, scheduler_, "key-acme");
  const auto unread = [this] {
    const std::string text = prometheus::TextSerializer().Serialize(metrics_.collectable()->Collect());
    const size_t at = text.find("\nhydrad_unread_output_bytes ");
    return std::stod(text.substr(at + 28));
  };
  while (unread() < (256 << 10)) std::this_thread::yield();  // the books are looked at now and then
  // gRPC may take a message more, from which on the time counts anew.
  while (!scheduler_.has_cancel()) {
    clock_.Advance(std::chrono::seconds(31));
    std::this_thread::yield();
  }
  const auto [id, why] = scheduler_.TakeCancel();
  EXPECT_EQ(id, stuck.request.id);
  while (unread() > 0) std::this_thread::yield();
  stuck.request.sink->OnDone(why, {});
  const grpc::Status status = FinishOf(*stuck.reader);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("took nothing for 30 seconds"));
}

TEST_F(StalledReaderTest, ATenantsLargestUnreadAnswersGoWhenTheyAreTooMuchTogether) {
  std::vector<std::unique_ptr<Stuck>> stuck;
  for (int i = 0; i < 8; ++i) stuck.push_back(std::make_unique<Stuck>(*inference_, scheduler_, "key-globex"));
  EXPECT_GE(stuck.size() * 12 * (64 << 10), 4u << 20);
  scheduler_.TakeCancel();
  Call call("key-acme");
  const Reader reader = inference_->Generate(&call, Ask("x"));
  Request request = scheduler_.Take();
  Play(request);
  EXPECT_TRUE(FinishOf(*reader).ok()) << "others are served";
  int ended = 0;
  for (const auto& one : stuck) {
    one->request.sink->OnDone(absl::OkStatus(), {});
    ended += FinishOf(*one->reader).error_code() == StatusCode::RESOURCE_EXHAUSTED;
  }
  EXPECT_GE(ended, 2);
  EXPECT_LT(ended, 8);
}

// Texts that take long to read are read on threads of their own.
TEST_F(InferenceServiceTest, ALongMessageIsDealtWithTheSame) {
  const std::string text(3500, 'x');
  Call call("key-globex"), bad("key-globex");
  v1::TokenizeRequest request;
  request.set_text(text);
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(inference_->Tokenize(&call, request, &tokens).ok());
  EXPECT_EQ(tokens.token_ids_size(), static_cast<int>(tokenizer_->Encode(text, true, false).size()));
  request.set_text(std::string(5000, 'x'));
  const grpc::Status status = inference_->Tokenize(&bad, request, &tokens);
  EXPECT_EQ(WireReason(status), "INVALID_FIELD");
  v1::GenerateRequest message = Ask("x");
  message.mutable_stopping()->add_stop(std::string(2500, 's'));
  Call long_call("key-globex");
  EXPECT_EQ(WireReason(FinishOf(*inference_->Generate(&long_call, message))), "INVALID_FIELD");
}

TEST_F(InferenceServiceTest, EveryMethodCountsAgainstTheRate) {
  v1::TokenizeResponse tokens;
  v1::DetokenizeResponse text;
  v1::ListModelsResponse models;
  Call first("key-slow");
  EXPECT_TRUE(inference_->ListModels(&first, {}, &models).ok());
  Call a("key-slow"), b("key-slow"), c("key-slow"), d("key-slow");
  for (const grpc::Status& status :
       {inference_->Tokenize(&a, {}, &tokens), inference_->Detokenize(&b, {}, &text),
        inference_->ListModels(&c, {}, &models), FinishOf(*inference_->Generate(&d, Ask("x")))}) {
    EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(WireReason(status), "TENANT_LIMIT");
    EXPECT_TRUE(HasRetryInfo(status));
  }
}

}  // namespace
}  // namespace hydrad
