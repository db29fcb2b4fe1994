#include "server/text/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <string>

#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

template <class Predicate>
int CountCodePoints(Predicate predicate) {
  int count = 0;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xd800 || c >= 0xe000) count += predicate(c);
  }
  return count;
}

// The numbers are those of the `tokenizers` package, counted over every code point.
TEST(Unicode, ClassesHaveTheSizesOfThePackage) {
  EXPECT_EQ(CountCodePoints(IsWhiteSpace), 25);
  EXPECT_EQ(CountCodePoints(IsNumeric), 1924);
  EXPECT_EQ(CountCodePoints(IsWordChar), 144667);
}

TEST(Unicode, ClassesOfSomeCharacters) {
  EXPECT_TRUE(IsWhiteSpace(0x3000));
  EXPECT_FALSE(IsWhiteSpace(0x200b));
  EXPECT_FALSE(IsWhiteSpace(0x180e));
  EXPECT_TRUE(IsNumeric(0xbd));     // ½
  EXPECT_TRUE(IsNumeric(0x11de0));  // new in Unicode 17
  EXPECT_FALSE(IsNumeric(0x4e94));  // 五 is a letter
  EXPECT_TRUE(IsWordChar(0x301));
  EXPECT_TRUE(IsWordChar('_'));
  EXPECT_FALSE(IsWordChar(0xb2));  // ²
}

TEST(Unicode, NormalForms) {
  const struct {
    std::string text, nfc, nfd, nfkc, nfkd;
  } cases[] = {
      {"", "", "", "", ""},
      {"plain", "plain", "plain", "plain", "plain"},
      {"e\u0301t", "ét", "e\u0301t", "ét", "e\u0301t"},
      {"ﬁ①", "ﬁ①", "ﬁ①", "fi1", "fi1"},
      {"각", "각", "\u1100\u1161\u11a8", "각", "\u1100\u1161\u11a8"},
      {"\u1100\u1161\u11a8", "각", "\u1100\u1161\u11a8", "각", "\u1100\u1161\u11a8"},
      {"Å", "Å", "A\u030a", "Å", "A\u030a"},  // the Angstrom sign
      {"a\u0315\u0300\u05ae", "\u00e0\u05ae\u0315", "a\u05ae\u0300\u0315", "\u00e0\u05ae\u0315",
       "a\u05ae\u0300\u0315"},
      {"x\u0301\u0323y", "x\u0323\u0301y", "x\u0323\u0301y", "x\u0323\u0301y", "x\u0323\u0301y"},
      {"\u0301a", "\u0301a", "\u0301a", "\u0301a", "\u0301a"},
      {"㋿", "㋿", "㋿", "㋿", "㋿"},  // Unicode 12.1: unknown
      {"\U00011935\U00011930", "\U00011935\U00011930", "\U00011935\U00011930", "\U00011935\U00011930",
       "\U00011935\U00011930"},  // Unicode 13: unknown
      {"e\u08ca\u0301", "e\u08ca\u0301", "e\u08ca\u0301", "e\u08ca\u0301",
       "e\u08ca\u0301"},  // Unicode 14: inert
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ToNormalForm(c.text, NormalForm::kNfc), c.nfc);
    EXPECT_EQ(ToNormalForm(c.text, NormalForm::kNfd), c.nfd);
    EXPECT_EQ(ToNormalForm(c.text, NormalForm::kNfkc), c.nfkc);
    EXPECT_EQ(ToNormalForm(c.text, NormalForm::kNfkd), c.nfkd);
  }
}

TEST(Unicode, NormalFormsAreStable) {
  std::string all;
  for (uint32_t c = 0; c < 0x30000; ++c) {
    if (c < 0xd800 || c >= 0xe000) AppendUtf8(c, &all);
  }
  for (NormalForm form : {NormalForm::kNfc, NormalForm::kNfd, NormalForm::kNfkc, NormalForm::kNfkd}) {
    const std::string once = ToNormalForm(all, form);
    EXPECT_TRUE(ToNormalForm(once, form) == once) << static_cast<int>(form);
  }
}

// A bubble sort would need ten thousand million steps.
TEST(Unicode, LongRunsOfMarksAreOrderedInReasonableTime) {
  constexpr int kMarks = 100'000;
  std::string text = "a", expected = "a";
  for (int i = 0; i < kMarks; ++i) text += "\u0315";
  for (int i = 0; i < kMarks; ++i) text += "\u0334";
  for (int i = 0; i < kMarks; ++i) expected += "\u0334";
  for (int i = 0; i < kMarks; ++i) expected += "\u0315";
  EXPECT_TRUE(ToNormalForm(text, NormalForm::kNfc) == expected);
}

TEST(Unicode, LowerCase) {
  EXPECT_EQ(ToLowerCase("ABC xyz ÄÖ ΑΣ Я"), "abc xyz äö ασ я");
  EXPECT_EQ(ToLowerCase("İ"), "i\u0307");
  EXPECT_EQ(ToLowerCase("\u1c89\U00016ea0"), "\u1c8a\U00016ebb");  // Unicode 16 and 17
  EXPECT_EQ(ToLowerCase("ẞǅ"), "ßǆ");
}

}  // namespace
}  // namespace hydrad
