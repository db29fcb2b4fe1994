// Calls whose answers must have a form: what the validator lets through, and who compiles the rest.
#include <gmock/gmock.h>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/error_details.h"
#include "tests/fakes/fake_form.h"
#include "tests/front/front_fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using Kind = AnswerForm::Kind;

class NoForms final : public AnswerForms {
 public:
  absl::StatusOr<std::shared_ptr<AnswerGrammar>> Compile(std::string_view tenant,
                                                         const AnswerForm& form) override {
    asked = std::string(tenant) + ": " + form.text;
    RETURN_IF_ERROR(answer);
    return grammar;
  }

  absl::Status answer;
  std::string asked;
  const std::shared_ptr<AnswerGrammar> grammar = std::make_shared<FakeForm>(1);
};

GenerateCall Asking(Kind kind, std::string text, std::vector<std::string> choices = {}) {
  GenerateCall call;
  call.prompt = "x";
  call.form = AnswerForm{.kind = kind, .text = std::move(text), .choices = std::move(choices)};
  return call;
}

TEST(FormFieldsTest, AreBounded) {
  const RequestLimits limits{.vocab_size = 100, .max_context = 64};
  const std::string longest(kMaxFormBytes, 'a');
  for (const auto& call : {Asking(Kind::kJsonObject, ""), Asking(Kind::kJsonSchema, "{}"),
                           Asking(Kind::kRegex, longest), Asking(Kind::kEbnf, "root ::= \"a\""),
                           Asking(Kind::kChoice, "", {"a", "b"}), Asking(Kind::kChoice, "", {longest})}) {
    EXPECT_EQ(Validate(call, limits), absl::OkStatus());
  }
  const std::vector<std::string> many(1025, "a");
  for (const auto& [call, field] : {std::pair(Asking(Kind::kJsonSchema, ""), "form.json_schema"),
                                    std::pair(Asking(Kind::kRegex, ""), "form.regex"),
                                    std::pair(Asking(Kind::kRegex, longest + "a"), "form.regex"),
                                    std::pair(Asking(Kind::kRegex, "\xff"), "form.regex"),
                                    std::pair(Asking(Kind::kEbnf, ""), "form.grammar"),
                                    std::pair(Asking(Kind::kChoice, ""), "form.choice.texts"),
                                    std::pair(Asking(Kind::kChoice, "", {"a", ""}), "form.choice.texts[1]"),
                                    std::pair(Asking(Kind::kChoice, "", {"a", longest}), "form.choice.texts"),
                                    std::pair(Asking(Kind::kChoice, "", many), "form.choice.texts")}) {
    const ErrorDetails details = DetailsOf(Validate(call, limits));
    ASSERT_EQ(details.violations.size(), 1u) << field;
    EXPECT_EQ(details.violations[0].field, field);
  }
  EXPECT_TRUE(TakesLong(Asking(Kind::kJsonObject, "")));
  EXPECT_FALSE(TakesLong(GenerateCall{}));
}

class FormCallTest : public FrontFixture {
 protected:
  FormCallTest() = default;

  OrRefusal<Prepared> Make(const GenerateCall& call, AnswerForms* forms) {
    Rooms rooms = intake_->rooms();
    rooms.forms = forms;
    EnteredCall entered;
    entered.asker.tenant = "globex";
    return MakeRequest(rooms, call, entered);
  }
  NoForms forms_;
};

TEST_F(FormCallTest, TheRequestHasTheCompiledForm) {
  OrRefusal<Prepared> made = Make(Asking(Kind::kRegex, "a+"), &forms_);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made).request.form, forms_.grammar);
  EXPECT_EQ(forms_.asked, "globex: a+");
  GenerateCall plain;
  plain.prompt = "x";
  EXPECT_EQ((*Make(plain, &forms_)).request.form, nullptr);
  EXPECT_TRUE(Make(plain, nullptr).ok());
}

TEST_F(FormCallTest, NothingIsTakenOutOfAnAnswerOfAForm) {
  GenerateCall call;
  call.prompt = ChatPrompt{.messages = {{.role = "user", .content = "x"}}, .take_apart = true};
  EXPECT_TRUE((*Make(call, &forms_)).head.answer);
  call.form = AnswerForm{};
  EXPECT_FALSE((*Make(call, &forms_)).head.answer);
}

TEST_F(FormCallTest, AFormThatCannotBeIsRefusedByName) {
  const auto refusal = [&](const absl::Status& why) {
    forms_.answer = why;
    return Make(Asking(Kind::kRegex, "("), &forms_).refusal();
  };
  const Refusal wrong = refusal(InvalidArgument("has no end"));
  EXPECT_EQ(wrong.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DetailsOf(wrong.status).violations[0].field, "form");
  EXPECT_EQ(DetailsOf(wrong.status).violations[0].description, "has no end");
  const Refusal full = refusal(ResourceExhausted("too many"));
  EXPECT_EQ(ReasonOf(full.status), "TOO_MANY_FORMS");
  EXPECT_TRUE(DetailsOf(full.status).retry.has_value());
  EXPECT_EQ(refusal(Unavailable("gone")).status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(FormCallTest, AServerWithoutTheLibrarySaysWhatToDo) {
  const Refusal refusal = Make(Asking(Kind::kJsonObject, ""), nullptr).refusal();
  EXPECT_EQ(refusal.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refusal.status), "NO_STRUCTURED_OUTPUT");
  EXPECT_THAT(std::string(refusal.status.message()), HasSubstr("deploy/get-grammar"));
}

}  // namespace
}  // namespace hydrad
