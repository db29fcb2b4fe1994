#include "server/http/form_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http/error_answer.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using Kind = AnswerForm::Kind;

struct Asked {
  std::optional<AnswerForm> form;
  std::string name, refused;  // by the param that its error names
};

Asked Read(const std::string& body) {
  const Json json = Json::parse(body);
  BodyReader reader(json);
  GenerateCall call;
  Asked asked;
  ReadForm(reader, &call, &asked.name);
  asked.form = call.form;
  if (const absl::Status status = reader.Finish(); !status.ok())
    asked.refused = Json::parse(ErrorAnswer(status).body)["error"]["param"].get<std::string>();
  return asked;
}

TEST(FormCallTest, FieldsThatAskForAForm) {
  struct Case {
    std::string body, name;
    Kind kind;
    std::string text;
  };
  const Case cases[] = {
      {R"({"response_format": {"type": "json_object"}})", "response_format", Kind::kJsonObject, ""},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d",
           "strict": true, "schema": {"type": "object", "properties": {"b": {}, "a": {}}}}}})",
       "response_format", Kind::kJsonSchema, R"({"type":"object","properties":{"b":{},"a":{}}})"},
      {R"({"structured_outputs": {"json": {"b": 1}}})", "structured_outputs.json", Kind::kJsonSchema,
       R"({"b":1})"},
      {R"({"structured_outputs": {"json": "{\"b\": 1}"}})", "structured_outputs.json", Kind::kJsonSchema,
       R"({"b": 1})"},
      {R"({"structured_outputs": {"regex": "a+"}})", "structured_outputs.regex", Kind::kRegex, "a+"},
      {R"({"structured_outputs": {"grammar": "root ::= \"x\""}})", "structured_outputs.grammar", Kind::kEbnf,
       "root ::= \"x\""},
      {R"({"structured_outputs": {"json_object": true}})", "structured_outputs.json_object",
       Kind::kJsonObject, ""},
      {R"({"guided_json": {"b": 1}})", "guided_json", Kind::kJsonSchema, R"({"b":1})"},
      {R"({"guided_regex": "a+", "guided_json": null})", "guided_regex", Kind::kRegex, "a+"},
      {R"({"guided_grammar": "root ::= \"x\""})", "guided_grammar", Kind::kEbnf, "root ::= \"x\""},
  };
  for (const Case& c : cases) {
    const Asked asked = Read(c.body);
    EXPECT_EQ(asked.refused, "") << c.body;
    ASSERT_TRUE(asked.form) << c.body;
    EXPECT_EQ(asked.name, c.name) << c.body;
    EXPECT_EQ(asked.form->kind, c.kind) << c.body;
    EXPECT_EQ(asked.form->text, c.text) << c.body;
  }
  EXPECT_THAT(Read(R"({"structured_outputs": {"choice": ["yes", "no"]}})").form->choices,
              ElementsAre("yes", "no"));
  EXPECT_THAT(Read(R"({"guided_choice": ["yes", "no"]})").form->choices, ElementsAre("yes", "no"));
}

TEST(FormCallTest, FieldsThatAskForNone) {
  for (const char* body :
       {"{}", R"({"response_format": {"type": "text"}})", R"({"response_format": null})"}) {
    const Asked asked = Read(body);
    EXPECT_FALSE(asked.form) << body;
    EXPECT_EQ(asked.name + asked.refused, "") << body;
  }
}

TEST(FormCallTest, WhatIsNoFormIsRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"response_format": 1})", "response_format"},
      {R"({"response_format": {"type": "xml"}})", "response_format.type"},
      {R"({"response_format": {}})", "response_format.type"},
      {R"({"response_format": {"type": "json_schema"}})", "response_format.json_schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}})",
       "response_format.json_schema.schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "strict": 1}}})",
       "response_format.json_schema.strict"},
      {R"({"response_format": {"type": "json_object", "schema": {}}})", "response_format.schema"},
      {R"({"structured_outputs": {}})", "structured_outputs"},
      {R"({"structured_outputs": {"json": 1}})", "structured_outputs.json"},
      {R"({"structured_outputs": {"regexp": "a"}})", "structured_outputs.regexp"},
      {R"({"structured_outputs": {"regex": "a", "choice": ["b"]}})", "structured_outputs.choice"},
      {R"({"response_format": {"type": "json_object"}, "guided_regex": "a"})", "guided_regex"},
      {R"({"guided_choice": [1]})", "guided_choice"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(Read(body).refused, param) << body;
}

}  // namespace
}  // namespace hydrad
