// Structured output of the running daemon, over gRPC: with the library of xgrammar, on the tiny model.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <thread>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/daemon_process.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

constexpr char kPerson[] = R"({"type": "object", "required": ["name", "age", "tags"], "properties": {
    "name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0, "maximum": 130},
    "tags": {"type": "array", "items": {"enum": ["a", "bc"]}, "maxItems": 3}}})";

bool IsPerson(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || json.size() != 3 || !json["name"].is_string() || !json["tags"].is_array())
    return false;
  for (const auto& tag : json["tags"]) {
    if (tag != "a" && tag != "bc") return false;
  }
  return json["tags"].size() <= 3 && json["age"].is_number_integer() && json["age"] >= 0 &&
         json["age"] <= 130;
}

// A form, and whether an answer has it.
struct Case {
  std::string name;
  std::function<void(v1::AnswerForm&)> set;
  std::function<bool(const std::string&)> has;
};

std::vector<Case> Cases() {
  return {
      {"schema", [](auto& form) { form.set_json_schema(kPerson); }, IsPerson},
      {"json", [](auto& form) { form.set_json_object(true); },
       [](const auto& text) { return nlohmann::json::parse(text, nullptr, false).is_object(); }},
      {"regex", [](auto& form) { form.set_regex("[a-c]{2,5}(-[0-9]{1,3}){2}"); },
       [](const auto& text) { return std::regex_match(text, std::regex("[a-c]{2,5}(-[0-9]{1,3}){2}")); }},
      {"choice",
       [](auto& form) {
         for (const char* text : {"yes", "no", "né \"\\\""}) form.mutable_choice()->add_texts(text);
       },
       [](const auto& text) { return text == "yes" || text == "no" || text == "né \"\\\""; }},
      {"grammar", [](auto& form) { form.set_grammar("root ::= \"<\" [a-z]{1,4} (\",\" [0-9]){0,3} \">\""); },
       [](const auto& text) { return std::regex_match(text, std::regex("<[a-z]{1,4}(,[0-9]){0,3}>")); }}};
}

class AnswerFormTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    daemon_ = std::make_unique<DaemonProcess>(std::vector<std::string>{
        "--model", "deploy/models/tiny", "--adapter-root", "deploy/adapters/tiny", "--listen", "127.0.0.1:0",
        "--admin-listen", "127.0.0.1:0", "--metrics-listen", "", "--lame-duck", "0", "--threads", "1"});
    const auto channel = [](const std::string& address) {
      return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    };
    stub_ = v1::Inference::NewStub(channel(daemon_->Address("inference")));
    admin_ = v1::Admin::NewStub(channel(daemon_->Address("admin")));
    EXPECT_THAT(daemon_->log(), HasSubstr("structured output: "));
  }
  static void TearDownTestSuite() {
    daemon_->Signal(SIGTERM);
    EXPECT_EQ(daemon_->Wait(), 0);
    daemon_.reset();
  }

  static v1::GenerateRequest Request(const Case& of, uint64_t seed, int max_tokens = 120) {
    v1::GenerateRequest request;
    request.set_text("Once upon a time");
    of.set(*request.mutable_form());
    request.mutable_sampling()->set_seed(seed);
    request.mutable_sampling()->set_temperature(seed % 3 == 0 ? 0 : 1);
    request.mutable_stopping()->set_max_tokens(max_tokens);
    return request;
  }
  static grpc::Status Ask(const v1::GenerateRequest& request, v1::GenerateResult* result) {
    grpc::ClientContext context;
    return stub_->GenerateUnary(&context, request, result);
  }
  // All choices that have ended have the form; returns how many those are.
  static int Ended(const v1::GenerateRequest& request, const Case& of) {
    v1::GenerateResult result;
    const grpc::Status status = Ask(request, &result);
    EXPECT_TRUE(status.ok()) << of.name << ": " << status.error_message();
    int ended = 0;
    for (const v1::Chunk& choice : result.choices()) {
      if (choice.finish_reason() != v1::FINISH_REASON_STOP) {
        EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_LENGTH);
        continue;
      }
      EXPECT_TRUE(of.has(choice.text())) << of.name << ": " << choice.text();
      ++ended;
    }
    return ended;
  }

  static std::unique_ptr<DaemonProcess> daemon_;
  static std::unique_ptr<v1::Inference::Stub> stub_;
  static std::unique_ptr<v1::Admin::Stub> admin_;
};
std::unique_ptr<DaemonProcess> AnswerFormTest::daemon_;
std::unique_ptr<v1::Inference::Stub> AnswerFormTest::stub_;
std::unique_ptr<v1::Admin::Stub> AnswerFormTest::admin_;

TEST_F(AnswerFormTest, AnswersHaveTheirForm) {
  for (const Case& of : Cases()) {
    int ended = 0;
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      v1::GenerateRequest request = Request(of, seed);
      request.mutable_sampling()->set_n(seed == 1 ? 4 : 1);
      if (seed == 2) request.mutable_sampling()->set_top_k(3);
      if (seed == 2) request.mutable_output()->set_logprobs(2);
      if (seed == 4) request.mutable_stopping()->set_ignore_eos(true);
      ended += Ended(request, of);
    }
    EXPECT_GT(ended, 0) << of.name;
  }
}

// Every adapter of the model, all at once, with answers of no form beside them.
TEST_F(AnswerFormTest, AdaptersOfEveryFamilyBesideOthers) {
  const std::vector<std::string> names = {"domains",   "mixed-hydralora", "mixed-lora",
                                          "mixed-moa", "shakespeare",     "sql"};
  for (const std::string& name : names) {
    grpc::ClientContext context;
    v1::LoadAdapterRequest load;
    load.set_name(name);
    load.set_path(name);
    v1::Adapter adapter;
    EXPECT_TRUE(admin_->LoadAdapter(&context, load, &adapter).ok()) << name;
  }
  const std::vector<Case> cases = Cases();
  std::vector<std::thread> users;
  uint64_t seed = 20;
  for (const std::string& name : names) {
    for (const Case& of : cases) {
      v1::GenerateRequest request = Request(of, ++seed);
      request.set_adapter(name);
      users.emplace_back([request, &of] { Ended(request, of); });
    }
    users.emplace_back([name] {
      v1::GenerateRequest request;
      request.set_text("Once");
      request.set_adapter(name);
      request.mutable_stopping()->set_max_tokens(30);
      v1::GenerateResult result;
      EXPECT_TRUE(Ask(request, &result).ok());
    });
  }
  for (std::thread& user : users) user.join();
}

TEST_F(AnswerFormTest, TheSameAloneAndBesideOthers) {
  const std::vector<Case> cases = Cases();
  const v1::GenerateRequest request = Request(cases[0], 3);
  v1::GenerateResult alone, together;
  ASSERT_TRUE(Ask(request, &alone).ok());
  std::vector<std::thread> others;
  for (uint64_t seed = 50; seed < 54; ++seed)
    others.emplace_back([&cases, seed] { Ended(Request(cases[seed % 5], seed), cases[seed % 5]); });
  EXPECT_TRUE(Ask(request, &together).ok());
  for (std::thread& other : others) other.join();
  EXPECT_EQ(alone.choices(0).text(), together.choices(0).text());
}

TEST_F(AnswerFormTest, ABrokenOrHostileFormIsRefusedAndOthersGoOn) {
  const auto refused = [](const std::function<void(v1::AnswerForm&)>& set, int max_tokens = 120) {
    v1::GenerateResult result;
    return Ask(Request({"", set, nullptr}, 1, max_tokens), &result);
  };
  const grpc::Status broken = refused([](auto& form) { form.set_json_schema("{\"type\": \"sting\"}"); });
  EXPECT_EQ(broken.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(broken.error_message(), HasSubstr("form"));
  EXPECT_THAT(broken.error_message(), HasSubstr("sting"));
  std::thread hostile([&refused] {
    std::string regex;
    for (int i = 0; i < 2000; ++i) regex += "a?";
    const grpc::Status status = refused([&](auto& form) { form.set_regex(regex); });
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("time or memory"));
  });
  EXPECT_GT(Ended(Request(Cases()[3], 9), Cases()[3]), 0);
  hostile.join();
  const grpc::Status slow =
      refused([](auto& form) { form.set_regex("((([a-z]{1,50}){1,50}){1,50}){1,50}"); });
  EXPECT_TRUE(slow.ok() || slow.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) << slow.error_message();
  EXPECT_GT(Ended(Request(Cases()[2], 9), Cases()[2]), 0);
}

// The main process of structured output is started again when somebody has ended it.
TEST_F(AnswerFormTest, ItsProcessMayBeEnded) {
  const std::string task = "/proc/" + std::to_string(daemon_->pid()) + "/task";
  std::set<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator(task)) {
    std::ifstream file(entry.path() / "children");
    for (pid_t child; file >> child;) children.insert(child);
  }
  ASSERT_EQ(children.size(), 1u);
  ASSERT_EQ(kill(*children.begin(), SIGKILL), 0);
  Case fresh{"fresh", [](auto& form) { form.set_regex("(ab){1,3}"); },
             [](const auto& text) { return std::regex_match(text, std::regex("(ab){1,3}")); }};
  EXPECT_GT(Ended(Request(fresh, 1), fresh), 0);
}

}  // namespace
}  // namespace hydrad
