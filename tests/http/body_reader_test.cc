#include "server/http/body_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http/error_answer.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ParamIn(const absl::Status& status) {
  const Json param = Json::parse(ErrorAnswer(status).body)["error"]["param"];
  return param.is_null() ? "" : param.get<std::string>();
}

TEST(BodyReaderTest, TakesFieldsByType) {
  const Json body = Json::parse(
      R"({"f": 1, "i": -3, "l": 5000000000, "b": true, "t": "x", "ids": [1, 2], "one": "a", "many": ["a", "b"],
          "o": {}, "null": null})");
  BodyReader reader(body);
  EXPECT_EQ(reader.Number("f"), 1.f);
  EXPECT_EQ(reader.Integer("i"), -3);
  EXPECT_EQ(reader.Long("l"), 5000000000);
  EXPECT_EQ(reader.Bool("b"), true);
  EXPECT_EQ(reader.Text("t"), "x");
  EXPECT_THAT(reader.Ids("ids"), ElementsAre(1, 2));
  EXPECT_THAT(reader.Texts("one"), ElementsAre("a"));
  EXPECT_THAT(reader.Texts("many"), ElementsAre("a", "b"));
  EXPECT_NE(reader.Object("o"), nullptr);
  EXPECT_EQ(reader.Integer("none"), std::nullopt);
  EXPECT_EQ(reader.Integer("null"), std::nullopt);
  EXPECT_TRUE(reader.Finish().ok()) << reader.Finish();
}

TEST(BodyReaderTest, WrongTypesAreNamed) {
  const auto wrong = [](const char* text, auto read) {
    const Json body = Json::parse(text);
    BodyReader reader(body, "p.");
    read(reader);
    EXPECT_EQ(ParamIn(reader.Finish()), "p.x") << text;
  };
  for (const char* text : {R"({"x": "1"})", R"({"x": 1.5})", R"({"x": 3000000000})", R"({"x": true})",
                           R"({"x": [1]})", R"({"x": 18446744073709551615})"}) {
    wrong(text, [](BodyReader& r) { EXPECT_EQ(r.Integer("x"), std::nullopt); });
    wrong(text, [](BodyReader& r) { EXPECT_EQ(r.Object("x"), nullptr); });
  }
  wrong(R"({"x": 18446744073709551615})", [](BodyReader& r) { r.Long("x"); });
  wrong(R"({"x": "1"})", [](BodyReader& r) { r.Number("x"); });
  wrong(R"({"x": 0})", [](BodyReader& r) { r.Bool("x"); });
  wrong(R"({"x": 0})", [](BodyReader& r) { r.Text("x"); });
  wrong(R"({"x": [1, "2"]})", [](BodyReader& r) { r.Ids("x"); });
  wrong(R"({"x": [4294967296]})", [](BodyReader& r) { r.Ids("x"); });
  wrong(R"({"x": ["1", 2]})", [](BodyReader& r) { r.Texts("x"); });
  wrong(R"({"x": {}})", [](BodyReader& r) { r.Texts("x"); });
}

TEST(BodyReaderTest, AFieldThatNobodyAskedForIsRefused) {
  const Json body = Json::parse(R"({"known": 1, "user": "u", "gone": null, "strange": 1})");
  BodyReader reader(body);
  reader.Integer("known");
  reader.Ignore({"user"});
  const absl::Status status = reader.Finish();
  EXPECT_EQ(ParamIn(status), "strange");
  EXPECT_THAT(ErrorAnswer(status).body, HasSubstr("strange is not supported"));
}

TEST(BodyReaderTest, TheFirstMistakeCounts) {
  const Json body = Json::parse(R"({"a": "x", "b": "x"})");
  BodyReader reader(body);
  reader.Integer("b");
  reader.Integer("a");
  EXPECT_EQ(ParamIn(reader.Finish()), "b");
}

}  // namespace
}  // namespace hydrad
