// Reasoning and calls of functions in the answers of a daemon's chat, for a model whose markers are special
// tokens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/e2e/scripted_model.h"
#include "tests/http/raw_client.h"
#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

// What the model says where the conversation has tools, and where it has none: a token each.
const std::vector<std::string> kCalls = {"<think>",
                                         "Both at",
                                         " once.",
                                         "</think>",
                                         "I look. ",
                                         "[TOOL_CALLS]",
                                         "[{\"name\": \"weather\"",
                                         ", \"arguments\": ",
                                         "{\"city\"",
                                         ": \"Oslo\"}}",
                                         ", {\"name\": \"time\", ",
                                         "\"arguments\": {}}",
                                         "] "};
const std::vector<std::string> kPlain = {"[THINK]", "Hm.", "[/THINK]", "Yes", ", sir."};
constexpr const char* kTemplate =
    "{% for message in messages %}{{ message.content }}{% endfor %}"
    "{% if false %}[TOOL_CALLS]{% endif %}"
    "{% if tools %}<|calls|>{% else %}<|plain|>{% endif %}";
constexpr const char* kTool = R"({"type": "function", "function": {"name": "weather", "parameters": {}}})";

// The model says one of the two behind the token that the template ends with.
void WriteModel(const TempDir& dir) {
  json file = ByteLevelFile({});
  std::map<std::string, int32_t> ids;
  const auto add = [&](const std::string& text, bool special) {
    ids[text] = 256 + static_cast<int32_t>(ids.size());
    file["added_tokens"].push_back({{"content", text}, {"special", special}, {"normalized", false}});
  };
  add("<|end|>", true);
  std::map<int32_t, int32_t> next;
  const auto follow = [&](const std::string& begin, const std::vector<std::string>& script) {
    add(begin, true);
    int32_t last = ids.at(begin);
    for (const std::string& text : script) {
      add(text, text.ends_with("THINK]") || text.ends_with("think>") || text == "[TOOL_CALLS]");
      next[last] = ids.at(text);
      last = ids.at(text);
    }
  };
  follow("<|calls|>", kCalls);
  follow("<|plain|>", kPlain);
  WriteScriptedModel(dir, file, next, 256 + static_cast<int>(ids.size()), ids.at("<|end|>"));
  dir.Write("tokenizer_config.json", json({{"chat_template", kTemplate}, {"eos_token", "<|end|>"}}).dump());
}

class ToolCallsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = std::make_unique<TempDir>();
    WriteModel(*model_);
    daemon_ = Serve({});
  }
  static void TearDownTestSuite() {
    daemon_.reset();
    model_.reset();
  }
  static std::unique_ptr<DaemonProcess> Serve(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--model",          model_->path(),
                                          "--listen",         "127.0.0.1:0",
                                          "--http-listen",    "127.0.0.1:0",
                                          "--admin-listen",   "",
                                          "--metrics-listen", "",
                                          "--lame-duck",      "0",
                                          "--threads",        "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<DaemonProcess>(arguments);
  }

  static v1::ChatRequest Ask(bool tools) {
    v1::ChatRequest request;
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_tokens(32);
    v1::ChatMessage& message = *request.add_messages();
    message.set_role("user");
    message.set_content("Weather and time in Oslo?");
    if (tools) request.add_tools(kTool);
    return request;
  }
  static v1::Chunk Whole(DaemonProcess& daemon, const v1::ChatRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResult result;
    const grpc::Status status =
        v1::Inference::NewStub(Channel(daemon.Address("inference")))->ChatUnary(&context, request, &result);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return result.choices().empty() ? v1::Chunk() : result.choices(0);
  }

  static json BodyOf(const json& more) {
    json body = {{"model", model_->path().substr(model_->path().rfind('/') + 1)},
                 {"temperature", 0},
                 {"max_tokens", 32}};
    body["messages"] = json::array({{{"role", "user"}, {"content", "Weather and time in Oslo?"}}});
    body.update(more);
    return body;
  }
  static std::string Post(const json& body) {
    RawClient client(daemon_->Address("http"));
    client.Post("/v1/chat/completions", body.dump(),
                "Content-Type: application/json\r\nConnection: close\r\n");
    return client.ReadToEnd();
  }
  static json AnswerTo(const json& more) {
    const std::string answer = Post(BodyOf(more));
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 "));
    return json::parse(answer.substr(answer.find("\r\n\r\n") + 4), nullptr, /*allow_exceptions=*/false);
  }

  static std::unique_ptr<TempDir> model_;
  static std::unique_ptr<DaemonProcess> daemon_;
};
std::unique_ptr<TempDir> ToolCallsTest::model_;
std::unique_ptr<DaemonProcess> ToolCallsTest::daemon_;

TEST_F(ToolCallsTest, AResultHasThemApart) {
  const v1::Chunk choice = Whole(*daemon_, Ask(/*tools=*/true));
  EXPECT_EQ(choice.reasoning(), "Both at once.");
  EXPECT_EQ(choice.text(), "I look.");
  EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
  ASSERT_EQ(choice.tool_calls_size(), 2);
  EXPECT_EQ(choice.tool_calls(0).name(), "weather");
  EXPECT_EQ(choice.tool_calls(0).arguments(), "{\"city\": \"Oslo\"}");
  EXPECT_EQ(choice.tool_calls(1).name(), "time");
  EXPECT_EQ(choice.tool_calls(1).arguments(), "{}");
  EXPECT_NE(choice.tool_calls(0).id(), choice.tool_calls(1).id());
}

TEST_F(ToolCallsTest, AStreamSaysTheSame) {
  grpc::ClientContext context;
  const auto stub = v1::Inference::NewStub(Channel(daemon_->Address("inference")));
  const auto stream = stub->Chat(&context, Ask(/*tools=*/true));
  std::string text, reasoning, arguments[2];
  std::vector<std::string> names;
  bool called = false;
  for (v1::GenerateResponse message; stream->Read(&message);) {
    text += message.chunk().text();
    reasoning += message.chunk().reasoning();
    for (const v1::CalledTool& call : message.chunk().tool_calls()) {
      if (!call.name().empty()) names.push_back(call.name());
      arguments[call.index()] += call.arguments();
    }
    called |= message.chunk().finish_reason() == v1::FINISH_REASON_TOOL_CALLS;
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "I look.");
  EXPECT_EQ(reasoning, "Both at once.");
  EXPECT_THAT(names, testing::ElementsAre("weather", "time"));
  EXPECT_EQ(arguments[0], "{\"city\": \"Oslo\"}");
  EXPECT_EQ(arguments[1], "{}");
  EXPECT_TRUE(called);
}

TEST_F(ToolCallsTest, WithoutToolsOnlyReasoningIsApart) {
  const v1::Chunk choice = Whole(*daemon_, Ask(/*tools=*/false));
  EXPECT_EQ(choice.reasoning(), "Hm.");
  EXPECT_EQ(choice.text(), "Yes, sir.");
  EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(choice.tool_calls_size(), 0);
}

TEST_F(ToolCallsTest, TheOperatorChoosesTheFormat) {
  const auto daemon = Serve({"--tool-parser", "none"});
  const v1::Chunk choice = Whole(*daemon, Ask(/*tools=*/true));
  EXPECT_EQ(choice.reasoning(), "Both at once.");
  EXPECT_THAT(choice.text(), testing::StartsWith("I look. [{\"name\""))
      << "the marker is special, and skipped";
  EXPECT_EQ(choice.tool_calls_size(), 0);
  EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_STOP);
}

TEST_F(ToolCallsTest, OverHttp) {
  const json choice = AnswerTo({{"tools", json::array({json::parse(kTool)})}})["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  const json& message = choice["message"];
  EXPECT_EQ(message["content"], "I look.");
  EXPECT_EQ(message["reasoning_content"], "Both at once.");
  ASSERT_EQ(message["tool_calls"].size(), 2u);
  EXPECT_EQ(message["tool_calls"][0]["type"], "function");
  EXPECT_EQ(message["tool_calls"][0]["function"],
            json({{"name", "weather"}, {"arguments", "{\"city\": \"Oslo\"}"}}));
  EXPECT_EQ(message["tool_calls"][1]["function"], json({{"name", "time"}, {"arguments", "{}"}}));
}

TEST_F(ToolCallsTest, OverHttpWithToolsThatMayNotBeCalled) {
  const json choice =
      AnswerTo({{"tools", json::array({json::parse(kTool)})}, {"tool_choice", "none"}})["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["message"]["content"], "Yes, sir.");
  EXPECT_EQ(choice["message"]["reasoning_content"], "Hm.");
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

TEST_F(ToolCallsTest, OverHttpAsAStream) {
  const std::string answer = Post(BodyOf({{"tools", json::array({json::parse(kTool)})}, {"stream", true}}));
  std::string content, reasoning, arguments[2], finish;
  std::vector<std::string> names;
  for (size_t at = 0; (at = answer.find("data: {", at)) != std::string::npos; ++at) {
    const json event = json::parse(answer.substr(at + 6, answer.find('\n', at) - at - 6));
    for (const json& choice : event["choices"]) {
      const json& delta = choice["delta"];
      if (delta.contains("content")) content += delta["content"];
      if (delta.contains("reasoning_content")) reasoning += delta["reasoning_content"];
      for (const json& call : delta.value("tool_calls", json::array())) {
        if (call.contains("id")) {
          EXPECT_EQ(call["type"], "function");
          names.push_back(call["function"]["name"]);
        }
        arguments[call["index"].get<size_t>()] += call["function"].value("arguments", "");
      }
      if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
    }
  }
  EXPECT_EQ(content, "I look.");
  EXPECT_EQ(reasoning, "Both at once.");
  EXPECT_THAT(names, testing::ElementsAre("weather", "time"));
  EXPECT_EQ(arguments[0], "{\"city\": \"Oslo\"}");
  EXPECT_EQ(arguments[1], "{}");
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_THAT(answer, HasSubstr("data: [DONE]"));
}

}  // namespace
}  // namespace hydrad
