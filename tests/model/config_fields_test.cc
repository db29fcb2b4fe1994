#include "server/model/config_fields.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace hydrad {
namespace {

ConfigFields::Json Object() {
  return ConfigFields::Json::parse(
      R"({"i": 7, "large": 9223372036854775808, "below": -9223372036854775807, "f": 2.5, "t": true,
          "s": "text", "n": null, "zero": 0, "minus": -1.5})");
}

// The text of the error of what `read` reads; "" where there is none.
std::string ErrorOf(const std::function<void(ConfigFields&)>& read) {
  const ConfigFields::Json object = Object();
  ConfigFields fields("config.json", object, "outer.");
  read(fields);
  return std::string(fields.status().message());
}

TEST(ConfigFieldsTest, ReadsWhatIsThereAndTheDefaultOfWhatIsNot) {
  const ConfigFields::Json object = Object();
  ConfigFields fields("config.json", object);
  EXPECT_EQ(fields.Int("i", 7, 7), 7);
  EXPECT_EQ(fields.IntOr("i", 0, 10, 3), 7);
  EXPECT_TRUE(fields.BoolOr("t", false));
  EXPECT_EQ(fields.PositiveOr("f", 2.5, 1), 2.5);
  EXPECT_EQ(fields.PositiveOr("i", 10, 1), 7);
  EXPECT_EQ(fields.StringOr("s", "other"), "text");
  for (const char* name : {"n", "none"}) {
    EXPECT_FALSE(fields.Has(name));
    EXPECT_EQ(fields.IntOr(name, 0, 10, 30), 30) << "a default may lie anywhere";
    EXPECT_TRUE(fields.BoolOr(name, true));
    EXPECT_EQ(fields.PositiveOr(name, 1, 5), 5);
    EXPECT_EQ(fields.StringOr(name, "other"), "other");
  }
  EXPECT_TRUE(fields.Given("n"));
  EXPECT_FALSE(fields.Given("none"));
  EXPECT_TRUE(fields.status().ok()) << fields.status();
}

TEST(ConfigFieldsTest, ErrorsNameFileAndField) {
  const std::pair<std::function<void(ConfigFields&)>, const char*> cases[] = {
      {[](auto& f) { f.Int("none", 0, 10); }, "config.json: outer.none is missing"},
      {[](auto& f) { f.Int("n", 0, 10); }, "config.json: outer.n is missing"},
      {[](auto& f) { f.Int("f", 0, 10); }, "config.json: outer.f is not an integer"},
      {[](auto& f) { f.Int("s", 0, 10); }, "config.json: outer.s is not an integer"},
      {[](auto& f) { f.IntOr("t", 0, 10, 1); }, "config.json: outer.t is not an integer"},
      {[](auto& f) { f.Int("i", 8, 10); }, "config.json: outer.i is not within 8 to 10"},
      {[](auto& f) { f.Int("i", 0, 6); }, "config.json: outer.i is not within 0 to 6"},
      {[](auto& f) { f.Int("large", 0, INT32_MAX); },
       "config.json: outer.large is not within 0 to 2147483647"},
      {[](auto& f) { f.Int("below", 0, 5); }, "config.json: outer.below is not within 0 to 5"},
      {[](auto& f) { f.BoolOr("i", false); }, "config.json: outer.i is not true or false"},
      {[](auto& f) { f.PositiveOr("zero", 1, 1); }, "config.json: outer.zero is not within 0 to 1"},
      {[](auto& f) { f.PositiveOr("minus", 1, 1); }, "config.json: outer.minus is not within 0 to 1"},
      {[](auto& f) { f.PositiveOr("f", 2, 1); }, "config.json: outer.f is not within 0 to 2"},
      {[](auto& f) { f.PositiveOr("s", 2, 1); }, "config.json: outer.s is not within 0 to 2"},
      {[](auto& f) { f.StringOr("i", ""); }, "config.json: outer.i is not a string"},
      {[](auto& f) { f.Fail("x", "is odd"); }, "config.json: outer.x is odd"},
  };
  for (const auto& [read, expected] : cases) EXPECT_EQ(ErrorOf(read), expected);
}

TEST(ConfigFieldsTest, TheFirstErrorStays) {
  EXPECT_EQ(ErrorOf([](ConfigFields& fields) {
              EXPECT_EQ(fields.Int("s", 1, 2), 0);
              EXPECT_EQ(fields.Int("i", 1, 9), 7) << "what comes behind is still read";
              fields.Int("none", 1, 2);
            }),
            "config.json: outer.s is not an integer");
}

}  // namespace
}  // namespace hydrad
