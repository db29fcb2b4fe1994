// The text of completions through the daemon, for a SentencePiece-style tokenizer: what comes when, and where
// it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/e2e/scripted_model.h"
#include "tests/fakes/http_get.h"
#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using testing::ElementsAre;

constexpr int kSpecial = 3;  // <unk> <s> </s>, then the 256 bytes
constexpr int32_t kStart = 1, kEnd = 2;

// A daemon whose model answers "Hi" with "ა🎉é end", all but the last word in byte tokens.
class TextTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const nlohmann::json file = SentencePieceFile(
        {"▁", "H", "i", "e", "n", "d"}, {{"H", "i"}, {"▁", "Hi"}, {"e", "n"}, {"en", "d"}, {"▁", "end"}});
    const auto tokenizer = LoadOrDie(file);
    hi_ = tokenizer->TokenId("▁Hi");
    end_word_ = tokenizer->TokenId("▁end");
    script_.clear();
    for (const unsigned char byte : std::string("ა🎉é")) script_.push_back(kSpecial + byte);
    script_.push_back(end_word_);
    script_.push_back(kEnd);
    std::map<int32_t, int32_t> next = {{hi_, script_[0]}};
    for (size_t i = 0; i + 1 < script_.size(); ++i) next[script_[i]] = script_[i + 1];
    model_ = std::make_unique<TempDir>();
    WriteScriptedModel(*model_, file, next, tokenizer->vocab_size(), kEnd);
    daemon_ = Serve({});
    stub_ = StubOf(*daemon_);
  }
  static void TearDownTestSuite() {
    stub_.reset();
    daemon_.reset();
    model_.reset();
  }
  // A daemon with these flags beside or instead of the usual ones.
  static std::unique_ptr<DaemonProcess> Serve(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--model",          model_->path(),
                                          "--listen",         "127.0.0.1:0",
                                          "--admin-listen",   "127.0.0.1:0",
                                          "--metrics-listen", "",
                                          "--lame-duck",      "0",
                                          "--threads",        "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<DaemonProcess>(arguments);
  }
  static std::unique_ptr<v1::Inference::Stub> StubOf(DaemonProcess& daemon) {
    return v1::Inference::NewStub(Channel(daemon.Address("inference")));
  }

  // For the prompt "Hi" and `script` tokens of the script.
  static v1::GenerateRequest Ask(size_t script = 0) {
    v1::GenerateRequest request;
    request.mutable_sampling()->set_temperature(0);
    request.mutable_output()->set_token_ids(true);
    auto& ids = *request.mutable_token_ids()->mutable_ids();
    ids.Add(kStart);
    ids.Add(hi_);
    ids.Add(script_.begin(), script_.begin() + static_cast<std::ptrdiff_t>(script));
    return request;
  }
  static v1::GenerateResult Whole(const v1::GenerateRequest& request) { return Whole(*stub_, request); }
  static v1::GenerateResult Whole(v1::Inference::Stub& stub, const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResult result;
    const grpc::Status status = stub.GenerateUnary(&context, request, &result);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (result.choices().empty()) result.add_choices();
    return result;
  }
  static std::vector<v1::Chunk> Pieces(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto reader = stub_->Generate(&context, request);
    std::vector<v1::Chunk> pieces;
    for (v1::GenerateResponse message; reader->Read(&message);) {
      if (message.has_chunk()) pieces.push_back(message.chunk());
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return pieces;
  }
  static std::vector<std::string> Texts(const std::vector<v1::Chunk>& pieces) {
    std::vector<std::string> texts;
    for (const v1::Chunk& piece : pieces) texts.push_back(piece.text());
    return texts;
  }

  inline static std::unique_ptr<TempDir> model_;
  inline static std::unique_ptr<DaemonProcess> daemon_;
  inline static std::unique_ptr<v1::Inference::Stub> stub_;
  inline static int32_t hi_, end_word_;
  inline static std::vector<int32_t> script_;
};

TEST_F(TextTest, ACharacterIsSentWithItsLastByte) {
  v1::GenerateRequest request = Ask();
  request.mutable_output()->set_logprobs(1);
  const std::vector<v1::Chunk> pieces = Pieces(request);
  EXPECT_THAT(Texts(pieces), ElementsAre("ა", "🎉", "é", " end", ""));
  std::vector<int> tokens;
  for (const v1::Chunk& piece : pieces) {
    tokens.push_back(piece.token_ids_size());
    EXPECT_EQ(piece.logprobs_size(), piece.token_ids_size());
  }
  EXPECT_THAT(tokens, ElementsAre(3, 4, 2, 1, 1)) << "tokens come with their text";
}

TEST_F(TextTest, EveryChoiceGoesOnFromThePrompt) {
  v1::GenerateRequest request = Ask(9);
  request.mutable_sampling()->set_n(3);
  const v1::GenerateResult result = Whole(request);
  ASSERT_EQ(result.choices_size(), 3);
  for (const v1::Chunk& choice : result.choices()) EXPECT_EQ(choice.text(), " end");
  EXPECT_EQ(result.usage().generated_tokens(), 6);
}

// Wherever the prompt ends, also inside a character, echo and output are the text of all; and without the
// echo, what is new.
TEST_F(TextTest, EchoAndOutputJoin) {
  for (size_t script = 0; script < script_.size(); ++script) {
    v1::GenerateRequest request = Ask(script);
    request.mutable_output()->set_echo(true);
    EXPECT_EQ(Whole(request).choices(0).text(), "Hiა🎉é end") << script;
    std::string streamed;
    for (const std::string& text : Texts(Pieces(request))) streamed += text;
    EXPECT_EQ(streamed, "Hiა🎉é end") << script;
    const std::string new_text = Whole(Ask(script)).choices(0).text();
    EXPECT_EQ(new_text, script < 3    ? "ა🎉é end"
                        : script < 7  ? "🎉é end"
                        : script < 9  ? "é end"
                        : script < 10 ? " end"
                                      : "")
        << script;
  }
  v1::GenerateRequest request = Ask();
  request.set_text("Hi");
  request.mutable_output()->set_echo(true);
  EXPECT_EQ(Whole(request).choices(0).text(), "Hiა🎉é end");
}

TEST_F(TextTest, AStopStringEndsAtTheTokenThatCompletesIt) {
  struct Case {
    size_t script;
    std::string stop, text;
    int tokens;
  } const cases[] = {{0, "🎉", "ა", 7},   {0, "ა", "", 3}, {1, "ა", "", 2},     {0, "🎉é", "ა", 9},
                     {9, " end", "", 1}, {9, " ", "", 1}, {0, "é e", "ა🎉", 10}};
  for (const auto& [script, stop, text, tokens] : cases) {
    v1::GenerateRequest request = Ask(script);
    request.mutable_stopping()->add_stop(stop);
    const v1::GenerateResult result = Whole(request);
    EXPECT_EQ(result.choices(0).text(), text) << stop;
    EXPECT_EQ(result.choices(0).stop(), stop);
    EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_STOP) << stop;
    EXPECT_EQ(result.choices(0).token_ids_size(), tokens) << stop;
    EXPECT_EQ(result.usage().generated_tokens(), tokens) << stop;
  }
}

TEST_F(TextTest, StopStringsBelowMinTokensAreText) {
  v1::GenerateRequest request = Ask();
  request.mutable_stopping()->add_stop("ა");
  request.mutable_stopping()->add_stop("é");
  request.mutable_stopping()->set_min_tokens(4);
  const v1::GenerateResult result = Whole(request);
  EXPECT_EQ(result.choices(0).text(), "ა🎉");
  EXPECT_EQ(result.choices(0).stop(), "é");
  EXPECT_EQ(result.usage().generated_tokens(), 9);
}

TEST_F(TextTest, ALimitInsideACharacterLosesOnlyThatCharacter) {
  v1::GenerateRequest request = Ask();
  request.mutable_stopping()->set_max_tokens(5);
  v1::GenerateResult result = Whole(request);
  EXPECT_EQ(result.choices(0).text(), "ა\uFFFD\uFFFD");
  EXPECT_EQ(result.choices(0).finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.usage().generated_tokens(), 5);
  request = Ask(1);
  request.mutable_stopping()->set_max_tokens(1);
  EXPECT_EQ(Whole(request).choices(0).text(), "\uFFFD") << "of the two, the prompt has the first";
}

TEST_F(TextTest, SoDoesTheEndOfTheContext) {
  const auto daemon = Serve({"--max-context", "8"});
  const v1::GenerateResult result = Whole(*StubOf(*daemon), Ask());
  EXPECT_EQ(result.choices(0).text(), "ა\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(result.usage().generated_tokens(), 6);
}

// Every choice needs a second block of the cache behind the second byte of 🎉, and there is not one for each.
TEST_F(TextTest, ChoicesThatArePreemptedInsideACharacterGoOnInIt) {
  const auto daemon = Serve({"--max-context", "32", "--weights", "f32", "--kv-cache-memory", "32768",
                             "--metrics-listen", "127.0.0.1:0"});
  v1::GenerateRequest request = Ask();
  request.mutable_token_ids()->clear_ids();
  for (int i = 0; i < 11; ++i) request.mutable_token_ids()->add_ids(end_word_);
  request.mutable_token_ids()->add_ids(hi_);
  request.mutable_sampling()->set_n(8);
  const v1::GenerateResult result = Whole(*StubOf(*daemon), request);
  ASSERT_EQ(result.choices_size(), 8);
  for (const v1::Chunk& choice : result.choices()) EXPECT_EQ(choice.text(), "ა🎉é end");
  EXPECT_THAT(HttpGet(daemon->Address("metrics"), "/metrics"),
              testing::ContainsRegex("\nhydrad_preemptions_total [1-9]"));
}

TEST_F(TextTest, DetokenizeGivesTheTextOfAll) {
  v1::DetokenizeRequest request;
  request.add_token_ids(kStart);
  request.add_token_ids(hi_);
  request.mutable_token_ids()->Add(script_.begin(), script_.end());
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Detokenize(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "Hiა🎉é end");
}

}  // namespace
}  // namespace hydrad
