// The directory of a journal on a real disk.
#include "server/adapters/store/log_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

class LogDirectoryTest : public testing::Test {
 protected:
  LogDirectoryTest() {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~LogDirectoryTest() override { fs::remove_all(root_); }

  std::unique_ptr<LogDirectory> Open() {
    auto directory = OpenLogDirectory(path_);
    EXPECT_TRUE(directory.ok()) << directory.status();
    return *std::move(directory);
  }
  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path_)) names.insert(entry.path().filename());
    return names;
  }

  const std::string root_ = testing::TempDir() + "/log_directory_test";
  const std::string path_ = root_ + "/state";
};

TEST_F(LogDirectoryTest, KeepsWhatIsAppendedCutAndReplaced) {
  const auto log = Open();
  EXPECT_EQ(*log->Read("a"), "") << "there is none";
  EXPECT_TRUE(log->Append("a", "one").ok());
  EXPECT_TRUE(log->Append("a", std::string("\0two", 4)).ok());
  EXPECT_EQ(*log->Read("a"), std::string("one\0two", 7));
  EXPECT_TRUE(log->Truncate("a", 2).ok());
  EXPECT_EQ(*log->Read("a"), "on");
  EXPECT_TRUE(log->Truncate("a", 0).ok());
  EXPECT_TRUE(log->Append("a", "again").ok());
  EXPECT_TRUE(log->Replace("a", "new").ok());
  EXPECT_TRUE(log->Replace("b", "").ok());
  EXPECT_EQ(*log->Read("a"), "new");
  EXPECT_EQ(*log->Read("b"), "");
  EXPECT_THAT(Files(), ElementsAre("a", "b", "lock")) << "nothing is left of what was replaced";
}

TEST_F(LogDirectoryTest, OutlivesItsProcess) {
  const std::string large(300'000, 'x');
  ASSERT_TRUE(Open()->Append("a", large).ok());
  EXPECT_EQ(*Open()->Read("a"), large);
}

TEST_F(LogDirectoryTest, IsTheOperatorsAlone) {
  Open()->Append("a", "secret").IgnoreError();
  struct stat directory, file;
  ASSERT_EQ(stat(path_.c_str(), &directory), 0);
  ASSERT_EQ(stat((path_ + "/a").c_str(), &file), 0);
  EXPECT_EQ(directory.st_mode & 0777, 0700u);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST_F(LogDirectoryTest, ServesOneAtATime) {
  auto first = Open();
  const auto second = OpenLogDirectory(path_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(path_ + "' is used by another process"));
  first.reset();
  EXPECT_TRUE(OpenLogDirectory(path_).ok());
}

TEST_F(LogDirectoryTest, WhatIsNoDirectoryIsRefused) {
  std::ofstream(path_) << "a file";
  const auto opened = OpenLogDirectory(path_);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(path_ + "' cannot be opened"));
  const auto made = OpenLogDirectory(root_ + "/no/such");
  EXPECT_EQ(made.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(made.status().message()), HasSubstr("/no/such' cannot be made"));
}

TEST_F(LogDirectoryTest, ErrorsNameTheFile) {
  const auto log = Open();
  const auto expect_error = [this](const absl::Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr("'" + path_ + "/" + text));
  };
  expect_error(log->Truncate("none", 1), "none' cannot be opened: No such file");
  fs::create_directory(path_ + "/d");
  std::ofstream(path_ + "/d/inside") << "x";
  expect_error(log->Read("d").status(), "d' cannot be read");
  expect_error(log->Append("d", "x"), "d' cannot be opened");
  expect_error(log->Replace("d", "x"), "d.new' cannot be renamed");
}

// A link would lead a daemon that runs as root to any file.
TEST_F(LogDirectoryTest, LinksAreNotFollowed) {
  const auto log = Open();
  const std::string elsewhere = root_ + "/elsewhere";
  std::ofstream(elsewhere) << "untouched";
  fs::create_symlink(elsewhere, path_ + "/a");
  EXPECT_FALSE(log->Read("a").ok());
  EXPECT_FALSE(log->Append("a", "x").ok());
  EXPECT_FALSE(log->Truncate("a", 0).ok());
  EXPECT_TRUE(log->Replace("a", "mine").ok()) << "the link itself is replaced";
  EXPECT_EQ(*log->Read("a"), "mine");
  std::string text;
  std::getline(std::ifstream(elsewhere), text);
  EXPECT_EQ(text, "untouched");
}

}  // namespace
}  // namespace hydrad
