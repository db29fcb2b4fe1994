#include "server/adapters/formats/disk.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_disk.h"

namespace hydrad {
namespace {

TEST(CheckPath, TakesWhatLiesBeneathARoot) {
  for (const char* path : {"a", "a/b", "a.b/c-d_e", "...", "..a", "a b", "\xc3\xa4"}) {
    EXPECT_TRUE(CheckPath(path).ok()) << path;
  }
  EXPECT_TRUE(CheckPath(std::string(512, 'a')).ok());
}

TEST(CheckPath, RefusesWhatCouldLeaveIt) {
  for (const std::string& path :
       {std::string(""), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("../a"), std::string("a/.."), std::string("a/../b"),
        std::string("a/./b"), std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f"),
        std::string(513, 'a')}) {
    EXPECT_EQ(CheckPath(path).code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

TEST(NormalPath, TakesWhatPeopleType) {
  EXPECT_EQ(*NormalPath("./a//b/./c/"), "a/b/c");
  for (const char* path : {"", ".", "./", "/a", "..", "a/../b", "a\nb"}) {
    EXPECT_EQ(NormalPath(path).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

class ReadWholeTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Read(uint64_t max_size = 1000) {
    const auto directory = *disk_.OpenDirectory("d");
    const auto file = *directory->OpenFile("f");
    auto bytes = ReadWhole(*file, max_size, digest_);
    if (!bytes.ok()) return bytes.status();
    return std::string(bytes->text());
  }
  std::string Error() { return std::string(Read().status().message()); }

  FakeDisk disk_;
  Sha256 digest_;
};

TEST_F(ReadWholeTest, ReadsAndDigestsInWhateverComponents) {
  disk_.Put("d", {{"f", "hello world"}});
  disk_.SetChunk(3);
  EXPECT_EQ(*Read(), "hello world");
  EXPECT_EQ(digest_.Finish(), Sha256::Of("hello world"));
}

TEST_F(ReadWholeTest, EmptyFileIsEmpty) {
  disk_.Put("d", {{"f", ""}});
  EXPECT_EQ(*Read(0), "");
}

TEST_F(ReadWholeTest, SizeIsBounded) {
  disk_.Put("d", {{"f", "hello"}});
  EXPECT_EQ(*Read(5), "hello");
  EXPECT_EQ(Read(4).status().message(), "is of 5 bytes, more than the 4 that are read");
}

TEST_F(ReadWholeTest, FileThatChangesItsSizeIsAnError) {
  disk_.Put("d", {{"f", "hello"}});
  disk_.SetDrift(-1);
  EXPECT_EQ(Error(), "became shorter while it was read; publish files by renaming them");
  disk_.SetDrift(1);
  EXPECT_EQ(Error(), "became longer while it was read; publish files by renaming them");
}

TEST_F(ReadWholeTest, EveryFailedReadIsReported) {
  disk_.Put("d", {{"f", "hello world"}});
  disk_.SetChunk(4);
  for (int call = 3; call <= 6; ++call) {  // after the two opens: three reads and the one behind the end
    disk_.FailCall(call);
    EXPECT_EQ(Read().status().code(), absl::StatusCode::kInternal) << call;
  }
  disk_.FailCall(7);
  EXPECT_TRUE(Read().ok());
}

}  // namespace
}  // namespace hydrad
