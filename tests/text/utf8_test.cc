#include "server/text/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace hydrad {
namespace {

TEST(Utf8, EveryCodePointGoesThereAndBack) {
  std::string all;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xd800 || c >= 0xe000) AppendUtf8(c, &all);
  }
  EXPECT_TRUE(IsUtf8(all));
  EXPECT_EQ(RepairUtf8(all), all);
  size_t pos = 0;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const size_t begin = pos;
    ASSERT_EQ(NextCodePoint(all, &pos), c);
    ASSERT_EQ(CharLength(all[begin]), pos - begin);
    ASSERT_EQ(LastCodePoint(std::string_view(all).substr(0, pos)), c);
  }
  EXPECT_EQ(pos, all.size());
}

// Every maximal ill-formed part becomes one U+FFFD: the examples of the Unicode standard, section 3.9, and
// more.
TEST(Utf8, RepairsByMaximalParts) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"a\xff z", "a\uFFFD z"},
      {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
      {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
      {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41\uFFFD\uFFFD\x42"},
      {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
      {"\xe4\xbd", "\uFFFD"},
      {"\xe4\xbd\xa0\xf0\x9f\x98", "你\uFFFD"},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(RepairUtf8(bytes), expected);
    EXPECT_EQ(IsUtf8(bytes), bytes == expected);
  }
}

TEST(Utf8, WholeCharactersAtTheFront) {
  const auto front = [](std::string_view text) {
    const Utf8Prefix prefix = WholeCharacters(text);
    return std::pair(prefix.length, prefix.open);
  };
  EXPECT_EQ(front(""), std::pair(size_t{0}, true));
  EXPECT_EQ(front("aé"), std::pair(size_t{3}, true));
  EXPECT_EQ(front("aé\xe1\x83"), std::pair(size_t{3}, true));
  EXPECT_EQ(front("aé\xe1\x83z"), std::pair(size_t{3}, false));
  EXPECT_EQ(front("\xed\xa0"), std::pair(size_t{0}, false)) << "a surrogate can never become a character";
  EXPECT_EQ(front("a\xff"), std::pair(size_t{1}, false));
}

TEST(Utf8, RepairingInPartsGivesTheSameWhereverItIsCut) {
  std::mt19937 random(1);
  // Bytes that are often lead and continuation bytes.
  const std::string bytes = "a\x80\xbf\xc2\xe0\xe4\xed\xf0\xf4\xff\x9f\xa0";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text.push_back(bytes[random() % bytes.size()]);
    Utf8Repairer repairer;
    std::string joined;
    for (size_t begin = 0; begin < text.size();) {
      const size_t size = 1 + random() % 4;
      std::string part;
      repairer.Add(std::string_view(text).substr(begin, size), &part);
      EXPECT_TRUE(IsUtf8(part));
      joined += part;
      begin += size;
    }
    repairer.Finish(&joined);
    ASSERT_EQ(joined, RepairUtf8(text));
  }
}

TEST(Utf8, ByteAlphabetIsGpt2s) {
  EXPECT_EQ(BytesToChars("a b\n\xff"), "aĠbĊÿ");
  for (int b = 0; b < 256; ++b) EXPECT_EQ(CharToByte(ByteToChar(static_cast<uint8_t>(b))), b);
  EXPECT_EQ(CharToByte(' '), -1);
  EXPECT_EQ(CharToByte(0x144), -1);
  EXPECT_EQ(CharToByte(0x10ffff), -1);
}

TEST(Utf8, CharsThatStandForNoByteLeaveTheOutputAlone) {
  std::string out = "before";
  EXPECT_TRUE(CharsToBytes("Ġx", &out));
  EXPECT_EQ(out, "before x");
  EXPECT_FALSE(CharsToBytes("Ġ▁", &out));
  EXPECT_EQ(out, "before x");
}

}  // namespace
}  // namespace hydrad
