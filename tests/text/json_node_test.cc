#include "server/text/tokenizer/json_node.h"

#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

const nlohmann::json kRoot = nlohmann::json::parse(
    R"({"list": [1, {"deep": true}], "text": "é", "long": "ab", "flag": false, "nothing": null, "big": 2147483648})");

JsonNode Root() { return JsonNode(kRoot, ""); }

TEST(JsonNode, PathsLeadToTheValue) {
  const auto list = Root().Member("list");
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->path(), "list");
  const auto elements = list->Elements(2);
  ASSERT_TRUE(elements.ok());
  const auto deep = (*elements)[1].Required("deep");
  ASSERT_TRUE(deep.ok());
  EXPECT_EQ(deep->path(), "list[1].deep");
  EXPECT_EQ(Message(deep->String().status()), "list[1].deep: must be a string, not boolean");
}

TEST(JsonNode, AbsentAndNullAreTheSame) {
  EXPECT_TRUE(Root().Member("nowhere")->IsNull());
  EXPECT_TRUE(Root().Member("nothing")->IsNull());
  EXPECT_EQ(Message(Root().Required("nothing").status()), "nothing: is missing");
  EXPECT_EQ(*Root().StringOr("nothing", "otherwise"), "otherwise");
  EXPECT_EQ(*Root().BoolOr("nowhere", true), true);
  EXPECT_EQ(*Root().BoolOr("flag", true), false);
}

TEST(JsonNode, TypesAreChecked) {
  EXPECT_EQ(Message(Root().StringOr("flag", "").status()), "flag: must be a string, not boolean");
  EXPECT_EQ(Message(Root().BoolOr("text", true).status()), "text: must be true or false, not string");
  EXPECT_EQ(Message(Root().Member("text")->Member("x").status()), "text: must be an object, not string");
  EXPECT_EQ(Message(Root().Member("text")->Elements(9).status()), "text: must be an array, not string");
  EXPECT_EQ(Message(Root().Member("list")->Elements(1).status()),
            "list: has 2 elements; at most 1 are supported");
}

TEST(JsonNode, CountsAndCharacters) {
  EXPECT_EQ(*(*Root().Member("list")->Elements(2))[0].Count(), 1);
  EXPECT_FALSE(Root().Member("big")->Count().ok());
  EXPECT_FALSE(Root().Member("text")->Count().ok());
  EXPECT_EQ(*Root().Member("text")->Character(), "é");
  EXPECT_EQ(Message(Root().Member("long")->Character().status()), "long: must be one character");
}

}  // namespace
}  // namespace hydrad
