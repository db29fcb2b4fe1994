#include "client/hydractl/human.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(BytesText, PicksTheUnit) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1.0 KiB");
  EXPECT_EQ(BytesText((1 << 20) - 1), "1.0 MiB") << "not 1024.0 KiB";
  EXPECT_EQ(BytesText(13107200), "12.5 MiB");
  EXPECT_EQ(BytesText(1ull << 30), "1.0 GiB");
  EXPECT_EQ(BytesText(~0ull), "16.0 EiB");
}

TEST(DurationText, TellsTheTwoLargestUnits) {
  EXPECT_EQ(DurationText(-3), "0 s");
  EXPECT_EQ(DurationText(59), "59 s");
  EXPECT_EQ(DurationText(185), "3 min 5 s");
  EXPECT_EQ(DurationText(7620), "2 h 7 min");
  EXPECT_EQ(DurationText(40 * 86400 + 3 * 3600 + 59), "40 d 3 h");
}

}  // namespace
}  // namespace hydrad
