#include "server/adapters/formats/adapter_fields.h"

#include <gtest/gtest.h>

#include <string>

namespace hydrad {
namespace {

Json Parsed(std::string_view text) { return *ParseJson(text); }

TEST(AdapterFieldsTest, WhatSwitchesAFeatureOn) {
  for (const char* on : {"true", "1", "-0.5", "\"x\"", "[0]", "{\"a\": null}"})
    EXPECT_TRUE(IsOn(Parsed(on))) << on;
  for (const char* off : {"false", "0", "0.0", "\"\"", "[]", "{}", "null"})
    EXPECT_FALSE(IsOn(Parsed(off))) << off;
}

TEST(AdapterFieldsTest, IntegersAreBoundedAndNeverWrap) {
  const auto read = [](const char* value, int* out) {
    Json config = Json::object();
    if (value != nullptr) config["r"] = Parsed(value);
    return std::string(ReadInt(config, "r", 16, out).message());
  };
  int r = -1;
  EXPECT_EQ(read("1", &r), "");
  EXPECT_EQ(r, 1);
  EXPECT_EQ(read("16", &r), "");
  EXPECT_EQ(r, 16);
  for (const char* bad : {"0", "17", "-1", "4294967297", "18446744073709551615", "1.0", "\"8\"", "true",
                          "null", "[8]", static_cast<const char*>(nullptr)}) {
    EXPECT_EQ(read(bad, &r), "field 'r': must be an integer from 1 to 16") << (bad == nullptr ? "none" : bad);
  }
  EXPECT_EQ(r, 16) << "a refused one is not taken";
}

TEST(AdapterFieldsTest, FlagsMayBeLeftOut) {
  bool flag = true;
  EXPECT_TRUE(ReadFlag(Parsed("{}"), "x", &flag).ok());
  EXPECT_FALSE(flag);
  EXPECT_TRUE(ReadFlag(Parsed(R"({"x": true})"), "x", &flag).ok());
  EXPECT_TRUE(flag);
  EXPECT_TRUE(ReadFlag(Parsed(R"({"x": null})"), "x", &flag).ok());
  EXPECT_FALSE(flag);
  EXPECT_EQ(ReadFlag(Parsed(R"({"x": 1})"), "x", &flag).message(), "field 'x': must be true or false");
}

TEST(AdapterFieldsTest, ABadFieldIsNamed) {
  const absl::Status status = BadField("r", "is odd");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "field 'r': is odd");
}

}  // namespace
}  // namespace hydrad
