#include "server/http/json_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/base/json.h"

namespace hydrad {
namespace {

TEST(QuotedTest, ReadsBackTheSame) {
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  all += "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";
  for (const std::string& text : {std::string(), std::string("plain"), std::string("\"\\\n\r\t\x01"), all}) {
    EXPECT_EQ(Json::parse(Quoted(text)).get<std::string>(), text);
  }
  EXPECT_EQ(Quoted("a\nb"), R"("a\nb")");
}

TEST(AppendNumberTest, ReadsBackTheSame) {
  for (const double value : {0.0, -0.5, 1e-30, -12.345678, 3.4e38}) {
    std::string out;
    AppendNumber(value, &out);
    EXPECT_EQ(Json::parse(out).get<double>(), value);
  }
  std::string out;
  AppendNumber(std::numeric_limits<double>::infinity(), &out);
  AppendNumber(std::nan(""), &out);
  EXPECT_EQ(out, "nullnull");
}

TEST(TokenTextTest, BytesThatAreNoTextAreTold) {
  EXPECT_EQ(TokenText("\xe2\x82\xac"), "\xe2\x82\xac");
  EXPECT_EQ(TokenText("\xe2\x82"), R"(bytes:\xe2\x82)");
}

}  // namespace
}  // namespace hydrad
