#include "server/base/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace hydrad {
namespace {

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/mapped_file_test_" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

TEST(MappedFile, ShowsTheBytes) {
  const auto file = MappedFile::Open(WriteFile("bytes", "hydrad"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->bytes().size(), 6u);
  EXPECT_EQ(std::memcmp((*file)->bytes().data(), "hydrad", 6), 0);
}

TEST(MappedFile, StaysReadableAfterTheFileIsRemoved) {
  const std::string path = WriteFile("removed", "still here");
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  unlink(path.c_str());
  EXPECT_EQ(std::memcmp((*file)->bytes().data(), "still here", 10), 0);
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  const auto file = MappedFile::Open(WriteFile("empty", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST(MappedFile, NamesAMissingFile) {
  const auto file = MappedFile::Open("/nonexistent/model.safetensors");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(file.status().message()).find("model.safetensors"), std::string::npos);
}

TEST(MappedFile, RefusesWhatIsNotARegularFile) {
  EXPECT_EQ(MappedFile::Open(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string fifo = testing::TempDir() + "/mapped_file_test_fifo";
  unlink(fifo.c_str());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(fifo).status().code(), absl::StatusCode::kInvalidArgument);  // and does not hang
}

TEST(MappedFile, LeavesACallersDescriptorOpen) {
  const int fd = open(WriteFile("fd", "abc").c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  ASSERT_TRUE(MappedFile::FromDescriptor(fd, "abc").ok());
  char c = 0;
  EXPECT_EQ(pread(fd, &c, 1, 2), 1);
  EXPECT_EQ(c, 'c');
  close(fd);
}

}  // namespace
}  // namespace hydrad
