#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

using TenantKeyCommand = CommandTest;

TEST_F(TenantKeyCommand, HashesTheKeyOnStdin) {
  const std::string hash =
      "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n";  // sha256sum of "key"
  EXPECT_EQ(RunAsGiven({"tenant-key", "hash"}, "key"), 0);
  EXPECT_EQ(out_, hash);
  EXPECT_EQ(RunAsGiven({"tenant-key", "hash"}, "key\r\n"), 0);
  EXPECT_EQ(out_, hash);
}

TEST_F(TenantKeyCommand, GeneratesAFreshKey) {
  ASSERT_EQ(RunAsGiven({"tenant-key", "hash", "--generate"}), 0);
  const std::string key = out_.substr(0, out_.find('\n')), hash = out_.substr(key.size() + 1);
  EXPECT_GE(key.size(), 64);
  ASSERT_EQ(RunAsGiven({"tenant-key", "hash"}, key), 0);
  EXPECT_EQ(out_, hash);
  ASSERT_EQ(RunAsGiven({"tenant-key", "hash", "--generate"}), 0);
  EXPECT_NE(out_.substr(0, key.size()), key);
}

TEST_F(TenantKeyCommand, RefusesWhatCannotBeAKey) {
  for (const char* input : {"", "\n", "two words", "two\nlines"}) {
    EXPECT_EQ(RunAsGiven({"tenant-key", "hash"}, input), 2) << input;
    EXPECT_EQ(out_, "");
  }
}

}  // namespace
}  // namespace hydrad
