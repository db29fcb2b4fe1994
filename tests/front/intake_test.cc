#include "server/front/intake.h"

#include <gmock/gmock.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <set>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/error_details.h"
#include "tests/front/front_fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

class NullSink final : public TokenSink {
 public:
  void OnStart(OutputStart) override {}
  bool OnPiece(OutputPiece) override { return true; }
  void OnDone(absl::Status, const Usage&) override {}
};

class IntakeTest : public FrontFixture {
 protected:
  static GenerateCall Ask(const std::string& text, const std::string& adapter = "") {
    GenerateCall call;
    call.prompt = text;
    call.adapter = adapter;
    return call;
  }
  static Caller As(const std::string& key) { return {.key = key, .peer = "test:", .deadline = std::nullopt}; }
  // Refused with this code and reason, and counted.
  void ExpectRefusal(const absl::Status& status, absl::StatusCode code, const std::string& reason,
                     const std::string& metric) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_THAT(prometheus::TextSerializer().Serialize(metrics_.collectable()->Collect()),
                HasSubstr("hydrad_rejected_total{reason=\"" + metric + "\"} 1\n"));
  }
  // All that a front end does with a call, until the scheduler, which the test plays, has the request.
  struct Held {
    Request request;
    std::string echo, name;
    Ticket ticket;
  };
  absl::StatusOr<Held> Prepare(const GenerateCall& message, const Caller& caller) {
    ASSIGN_OR_RETURN(Ticket ticket, intake_->Enter(caller));
    EnteredCall call{.caller = caller, .asker = {ticket.tenant(), ticket.weight()}};
    AnswerHead head;
    RETURN_IF_ERROR(intake_->Start(call, message, [&](AnswerHead known) {
      head = std::move(known);
      return std::make_shared<NullSink>();
    }));
    return Held{scheduler_.Take(), head.echo, head.request_id, std::move(ticket)};
  }
  static bool HasRetry(const absl::Status& status) { return DetailsOf(status).retry.has_value(); }
};

TEST_F(IntakeTest, MakesARequestOfAMessage) {
  ASSERT_TRUE(Load("one", "one").ok());
  GenerateCall message = Ask("Once upon a time", "one");
  message.sampling.temperature = 0.5f;
  message.sampling.seed = 7;
  message.sampling.n = 3;
  message.stopping.max_tokens = 9;
  message.output.logprobs = 2;
  Caller caller = As("key-acme");
  caller.deadline = clock_.Now() + std::chrono::seconds(5);
  const auto prepared = Prepare(message, caller);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const Request& request = prepared->request;
  EXPECT_EQ(request.prompt, tokenizer_->Encode("Once upon a time", true, false));
  EXPECT_EQ(request.adapter.name(), "one");
  EXPECT_EQ(request.tenant, "acme");
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.seed, 7u);
  EXPECT_EQ(request.n, 3);
  EXPECT_EQ(request.stopping.max_tokens, 9);
  EXPECT_EQ(request.output.top_logprobs, 2);
  EXPECT_EQ(request.arrival, clock_.Now());
  EXPECT_EQ(request.deadline, caller.deadline);
  EXPECT_EQ(prepared->echo, "");
}

TEST_F(IntakeTest, HoldsEveryAdapterOfAComposition) {
  ASSERT_TRUE(Load("one", "one").ok());
  ASSERT_TRUE(Load("two", "two").ok());
  GenerateCall message = Ask("Once upon a time");
  message.adapters = {{"two", std::nullopt}, {"one", -0.5f}};
  message.adapter_top_k = 2;
  message.output.routing = true;
  const auto prepared = Prepare(message, As("key-globex"));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const Request& request = prepared->request;
  ASSERT_EQ(request.adapters(), 2u);
  EXPECT_EQ(request.adapter_at(0).name(), "two");
  EXPECT_EQ(request.weight_at(0), 1);
  EXPECT_EQ(request.adapter_at(1).name(), "one");
  EXPECT_EQ(request.weight_at(1), -0.5f);
  EXPECT_EQ(request.adapter_top_k, 2);
  EXPECT_TRUE(request.output.routing);
}

TEST_F(IntakeTest, EveryAdapterOfACompositionMustBeAllowedAndThere) {
  ASSERT_TRUE(Load("one", "one").ok());
  GenerateCall message = Ask("Once upon a time");
  message.adapters = {{"one", std::nullopt}, {"two", std::nullopt}};
  const absl::Status refused = Prepare(message, As("key-acme")).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("tenant 'acme' may not use adapter 'two'"));
  ExpectRefusal(refused, absl::StatusCode::kPermissionDenied, "ADAPTER_NOT_ALLOWED", "permission");
  ExpectRefusal(Prepare(message, As("key-globex")).status(), absl::StatusCode::kNotFound, "ADAPTER_NOT_FOUND",
                "unknown_adapter");
}

TEST_F(IntakeTest, UnsetFieldsTakeDefaults) {
  const auto prepared = Prepare(Ask("x"), As("key-acme"));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->request.n, 1);
  EXPECT_EQ(prepared->request.stopping.max_tokens, kDefaultMaxTokens);
  EXPECT_FALSE(prepared->request.adapter);
  EXPECT_FALSE(prepared->request.deadline);
}

TEST_F(IntakeTest, IdsAndSeedsAreTheServersAndDiffer) {
  std::set<RequestId> ids;
  std::set<uint64_t> seeds;
  for (int i = 0; i < 20; ++i) {
    const auto prepared = Prepare(Ask("x"), As("key-globex"));
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    ids.insert(prepared->request.id);
    seeds.insert(prepared->request.seed);
  }
  EXPECT_EQ(ids.size(), 20u);
  EXPECT_EQ(seeds.size(), 20u);
}

TEST_F(IntakeTest, TokenIdsAreTakenAsTheyAre) {
  GenerateCall message;
  message.prompt = std::vector<int32_t>{5, 6};
  message.output.echo = true;
  const auto prepared = Prepare(message, As("key-acme"));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->request.prompt, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(prepared->echo, tokenizer_->Decode(std::vector<int32_t>{5, 6}, true));
}

TEST_F(IntakeTest, AnEchoEndsWhereTheTextBehindThePromptBegins) {
  GenerateCall message;
  // The second is the first byte of é.
  message.prompt = std::vector<int32_t>{tokenizer_->TokenId("a"), tokenizer_->TokenId("Ã")};
  for (const bool echo : {false, true}) {
    message.output.echo = echo;
    const auto prepared = Prepare(message, As("key-acme"));
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    EXPECT_EQ(prepared->echo, echo ? "a" : "");
    Detokenizer behind = prepared->request.behind_prompt.value();
    EXPECT_EQ(behind.Add(tokenizer_->TokenId("©")), "é");
  }
}

TEST_F(IntakeTest, TheEchoOfATextIsTheText) {
  GenerateCall message = Ask("Once  upon");
  message.output.echo = true;
  EXPECT_EQ(Prepare(message, As("key-acme"))->echo, "Once  upon");
}

TEST_F(IntakeTest, AnInvalidMessage) {
  ExpectRefusal(Prepare(Ask(""), As("key-acme")).status(), absl::StatusCode::kInvalidArgument,
                "INVALID_FIELD", "invalid");
}

TEST_F(IntakeTest, AStrangerLearnsNothingOfAnInvalidMessage) {
  ExpectRefusal(Prepare(Ask(""), As("wrong key")).status(), absl::StatusCode::kUnauthenticated, "INVALID_KEY",
                "auth");
}

TEST_F(IntakeTest, ACallCountsAgainstTheRateOfItsTenant) {
  ASSERT_EQ(*intake_->EnterCall(As("key-slow")), "slow");
  const absl::Status second = intake_->EnterCall(As("key-slow")).status();
  ExpectRefusal(second, absl::StatusCode::kResourceExhausted, "TENANT_LIMIT", "tenant_limit");
  EXPECT_TRUE(HasRetry(second));
  EXPECT_EQ(intake_->Enter(As("key-slow")).status().code(), absl::StatusCode::kResourceExhausted)
      << "it is one rate";
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_TRUE(intake_->Enter(As("key-slow")).ok());
  EXPECT_EQ(intake_->EnterCall(As("")).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(IntakeTest, NamesOfRequestsTellNothingOfOthers) {
  const auto first = Prepare(Ask("x"), As("key-globex")), second = Prepare(Ask("x"), As("key-globex"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_THAT(first->name, testing::MatchesRegex("req-[0-9a-f]{32}"));
  EXPECT_EQ(first->request.id + 1, second->request.id);
  EXPECT_NE(first->name.substr(0, 12), second->name.substr(0, 12)) << "no common part";
  const RequestNames names, others;
  EXPECT_EQ(names.Name(7), names.Name(7));
  EXPECT_NE(names.Name(7), others.Name(7)) << "each start has a key of its own";
}

TEST_F(IntakeTest, AWrongKeyIsRefusedAndAudited) {
  ExpectRefusal(Prepare(Ask("x"), As("wrong")).status(), absl::StatusCode::kUnauthenticated, "INVALID_KEY",
                "auth");
  ASSERT_EQ(AuditLines().size(), 1u);
  EXPECT_EQ(AuditLines()[0]["action"], "refused");
  EXPECT_EQ(AuditLines()[0]["peer"], "test:");
  EXPECT_THAT(AuditLines()[0].dump(), testing::Not(HasSubstr("wrong\"")));
}

TEST_F(IntakeTest, NoKeyOrAnUnreadableOneIsRefused) {
  EXPECT_EQ(Prepare(Ask("x"), As("")).status().code(), absl::StatusCode::kUnauthenticated);
  Caller caller = As("");
  caller.key = Unauthenticated("the authorization entry is not 'Bearer KEY'");
  EXPECT_EQ(Prepare(Ask("x"), caller).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(IntakeTest, AnAdapterThatIsNotAllowedIsRefusedWhetherOrNotItExists) {
  ASSERT_TRUE(Load("two", "two").ok());
  ExpectRefusal(Prepare(Ask("x", "two"), As("key-acme")).status(), absl::StatusCode::kPermissionDenied,
                "ADAPTER_NOT_ALLOWED", "permission");
  const absl::Status unknown = Prepare(Ask("x", "three"), As("key-acme")).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kPermissionDenied);
  ASSERT_EQ(AuditLines().size(), 2u);
  EXPECT_EQ(AuditLines()[0]["actor"], "acme");
  EXPECT_EQ(AuditLines()[0]["adapter"], "two");
}

TEST_F(IntakeTest, OverItsLimitATenantIsToldWhenToRetry) {
  const auto first = Prepare(Ask("x"), As("key-acme"));
  ASSERT_TRUE(first.ok());
  const absl::Status second = Prepare(Ask("x"), As("key-acme")).status();
  ExpectRefusal(second, absl::StatusCode::kResourceExhausted, "TENANT_LIMIT", "tenant_limit");
  EXPECT_TRUE(HasRetry(second));
  EXPECT_TRUE(Prepare(Ask("x"), As("key-globex")).ok()) << "another tenant is not held up";
}

TEST_F(IntakeTest, ARefusedRequestGivesItsTicketBack) {
  EXPECT_EQ(Prepare(Ask("x", "one"), As("key-acme")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Prepare(Ask("x"), As("key-acme")).ok());
}

TEST_F(IntakeTest, UnknownAdapter) {
  ExpectRefusal(Prepare(Ask("x", "three"), As("key-globex")).status(), absl::StatusCode::kNotFound,
                "ADAPTER_NOT_FOUND", "unknown_adapter");
}

TEST_F(IntakeTest, AnAdapterThatIsLoadingMayBeTriedAgain) {
  backend_.CloseGate();
  std::promise<void> loaded;
  store_->Load("one", "one", [&](const absl::StatusOr<AdapterInfo>&) { loaded.set_value(); });
  backend_.AwaitAtGate(1);
  const absl::Status status = Prepare(Ask("x", "one"), As("key-globex")).status();
  ExpectRefusal(status, absl::StatusCode::kUnavailable, "ADAPTER_NOT_READY", "adapter_not_ready");
  EXPECT_TRUE(HasRetry(status));
  backend_.OpenGate();
  loaded.get_future().wait();
  EXPECT_TRUE(Prepare(Ask("x", "one"), As("key-globex")).ok());
}

TEST_F(IntakeTest, AnAdapterWhoseLoadFailed) {
  backend_.FailLoad(1);
  EXPECT_FALSE(Load("one", "one").ok());
  ExpectRefusal(Prepare(Ask("x", "one"), As("key-globex")).status(), absl::StatusCode::kFailedPrecondition,
                "ADAPTER_FAILED", "adapter_failed");
}

TEST_F(IntakeTest, APromptLongerThanTheContext) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "word ";
  const absl::Status status = Prepare(Ask(text), As("key-acme")).status();
  ExpectRefusal(status, absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "invalid");
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 63"));
}

TEST_F(IntakeTest, ClosedRefusesEverythingWithAHintToRetry) {
  intake_->Close();
  const absl::Status status = Prepare(Ask("x"), As("key-acme")).status();
  ExpectRefusal(status, absl::StatusCode::kUnavailable, "DRAINING", "draining");
  EXPECT_TRUE(HasRetry(status));
}

// The sink that keeps how its request ended.
class EndSink final : public TokenSink {
 public:
  explicit EndSink(std::shared_ptr<absl::Status> end) : end_(std::move(end)) {}
  void OnStart(OutputStart) override {}
  bool OnPiece(OutputPiece) override { return true; }
  void OnDone(absl::Status status, const Usage&) override { *end_ = std::move(status); }

 private:
  const std::shared_ptr<absl::Status> end_;
};

class IntakeSubmitTest : public IntakeTest {
 protected:
  // How the request ended at once; OK if it did not.
  absl::Status Submit() {
    absl::StatusOr<Ticket> ticket = intake_->Enter(As("key-globex"));
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    const EnteredCall call{.caller = As("key-globex"), .asker = {"globex"}};
    EXPECT_TRUE(
        intake_->Start(call, Ask("x"), [this](const AnswerHead&) { return std::make_shared<EndSink>(end_); })
            .ok());
    return *end_;
  }
  // The sink's too: one that is left is told of its end after the test.
  const std::shared_ptr<absl::Status> end_ = std::make_shared<absl::Status>();
};

TEST_F(IntakeSubmitTest, HandsOver) {
  EXPECT_TRUE(Submit().ok());
  EXPECT_EQ(scheduler_.submitted(), 1u);
}

TEST_F(IntakeSubmitTest, AFullQueue) {
  scheduler_.Answer(ResourceExhausted("1024 requests are already waiting"));
  const absl::Status status = Submit();
  ExpectRefusal(status, absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "queue_full");
  EXPECT_TRUE(HasRetry(status));
}

TEST_F(IntakeSubmitTest, ADrainingScheduler) {
  scheduler_.Answer(Unavailable("the server is shutting down"));
  ExpectRefusal(Submit(), absl::StatusCode::kUnavailable, "DRAINING", "draining");
}

TEST_F(IntakeSubmitTest, ARequestThatCanNeverFit) {
  scheduler_.Answer(InvalidArgument("the cache cannot hold it"));
  ExpectRefusal(Submit(), absl::StatusCode::kInvalidArgument, "INVALID_ARGUMENT", "invalid");
}

TEST_F(IntakeTest, AnExpertOrADecisionGoesOnAsItIs) {
  ASSERT_TRUE(Load("one", "one").ok());
  GenerateCall message = Ask("x", "one");
  auto prepared = Prepare(message, As("key-globex"));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->request.expert, "");
  EXPECT_FALSE(prepared->request.decision.has_value());
  message.expert = "sums";
  EXPECT_EQ(Prepare(message, As("key-globex"))->request.expert, "sums");
  message.expert = "";
  message.decision = Decision::kLayer;
  EXPECT_EQ(Prepare(message, As("key-globex"))->request.decision, Decision::kLayer);
}

}  // namespace
}  // namespace hydrad
