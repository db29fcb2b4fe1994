#include "server/text/answer/tool_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(ToolFormatTest, HasNames) {
  for (const ToolFormat format :
       {ToolFormat::kNone, ToolFormat::kHermes, ToolFormat::kLlama3Json, ToolFormat::kMistral})
    EXPECT_EQ(ToolFormatNamed(Name(format)), format);
  EXPECT_EQ(Name(ToolFormat::kLlama3Json), "llama3_json");
  EXPECT_EQ(ToolFormatNamed("auto"), std::nullopt);
}

TEST(ToolFormatTest, TemplatesTell) {
  EXPECT_EQ(ToolFormatOf("{{ '<tool_call>\\n{\"name\": \"' }}"), ToolFormat::kHermes);
  EXPECT_EQ(ToolFormatOf("{{ '<tool_call>\\n<function=' ~ f.name }}"), ToolFormat::kNone);
  EXPECT_EQ(ToolFormatOf("{{ '<tool_call>' ~ f.name ~ '<arg_key>' }}"), ToolFormat::kNone);
  EXPECT_EQ(ToolFormatOf("{{ '[TOOL_CALLS] [' }}"), ToolFormat::kMistral);
  EXPECT_EQ(ToolFormatOf("{{ '<|python_tag|>' ~ f.name ~ '.call(' }}"), ToolFormat::kLlama3Json);
  EXPECT_EQ(ToolFormatOf("{{ '<|start_header_id|>' }}{{ '\"parameters\": ' }}"), ToolFormat::kLlama3Json);
  EXPECT_EQ(ToolFormatOf("{{ '<|start_header_id|>' }}"), ToolFormat::kNone);
  EXPECT_EQ(ToolFormatOf("{{ '<|im_start|>' }}"), ToolFormat::kNone);
}

TEST(ToolFormatTest, PromptsLeaveReasoningOpen) {
  EXPECT_EQ(LeftOpenBy("<|im_start|>assistant\n"), nullptr);
  EXPECT_EQ(LeftOpenBy(""), nullptr);
  EXPECT_EQ(LeftOpenBy("<|im_start|>assistant\n<think>\n\n</think>\n\n"), nullptr);
  ASSERT_NE(LeftOpenBy("<|im_start|>assistant\n<think>\n"), nullptr);
  EXPECT_EQ(LeftOpenBy("<|im_start|>assistant\n<think>\n")->close, "</think>");
  EXPECT_EQ(LeftOpenBy("[/INST][THINK]")->close, "[/THINK]");
}

TEST(ToolFormatTest, ListsItsMarkers) {
  EXPECT_THAT(MarkersOf(ToolFormat::kNone),
              testing::ElementsAre("<think>", "</think>", "[THINK]", "[/THINK]"));
  EXPECT_THAT(MarkersOf(ToolFormat::kHermes),
              testing::IsSupersetOf({"<think>", "<tool_call>", "</tool_call>"}));
  EXPECT_THAT(MarkersOf(ToolFormat::kLlama3Json), testing::Contains("<|python_tag|>"));
  EXPECT_THAT(MarkersOf(ToolFormat::kMistral),
              testing::IsSupersetOf({"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"}));
}

}  // namespace
}  // namespace hydrad
