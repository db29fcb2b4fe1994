#include "server/text/tokenizer/post_processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

absl::StatusOr<PostProcessor> Parse(const json& node) {
  return PostProcessor::Parse(JsonNode(node, "post_processor"));
}

json Special(const std::string& id) { return {{"SpecialToken", {{"id", id}, {"type_id", 0}}}}; }
json Text(const std::string& id) { return {{"Sequence", {{"id", id}, {"type_id", 0}}}}; }
json Template(const std::vector<json>& single) {
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"special_tokens", {{"<s>", {{"ids", {1}}}}, {"</s>", {{"ids", {2, 3}}}}}}};
}

TEST(PostProcessor, NothingIsAdded) {
  EXPECT_THAT(Parse(nullptr)->before, IsEmpty());
  EXPECT_THAT(Parse({{"type", "ByteLevel"}})->before, IsEmpty());
}

TEST(PostProcessor, TemplatesPutTokensOnBothSides) {
  const auto parsed = Parse(Template({Special("<s>"), Text("A"), Special("</s>"), Special("<s>")}));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->before, ElementsAre(1));
  EXPECT_THAT(parsed->after, ElementsAre(2, 3, 1));
}

TEST(PostProcessor, ASequenceHoldsOneTemplate) {
  const json sequence = {{"type", "Sequence"},
                         {"processors", {{{"type", "ByteLevel"}}, Template({Special("<s>"), Text("A")})}}};
  EXPECT_THAT(Parse(sequence)->before, ElementsAre(1));
  const json two = {{"type", "Sequence"}, {"processors", {Template({Text("A")}), Template({Text("A")})}}};
  EXPECT_EQ(Message(Parse(two).status()),
            "post_processor.processors[1]: a second TemplateProcessing is not supported");
}

TEST(PostProcessor, Errors) {
  const auto error = [](const json& node) { return Message(Parse(node).status()); };
  EXPECT_EQ(error({{"type", "BertProcessing"}}),
            "post_processor: the post-processor 'BertProcessing' is not supported");
  EXPECT_EQ(error(Template({Special("<x>"), Text("A")})), "post_processor.special_tokens.<x>: is missing");
  EXPECT_EQ(error(Template({Special("<s>")})), "post_processor.single: must hold the sequence A");
  EXPECT_EQ(error(Template({Text("B")})),
            "post_processor.single: must hold the sequence A once and no other");
  EXPECT_EQ(error(Template({Text("A"), Text("A")})),
            "post_processor.single: must hold the sequence A once and no other");
  json bad = Template({Special("<s>"), Text("A")});
  bad["special_tokens"]["<s>"]["ids"] = {"one"};
  EXPECT_EQ(error(bad), "post_processor.special_tokens.<s>.ids[0]: must be an integer from 0 to 2147483647");
}

}  // namespace
}  // namespace hydrad
