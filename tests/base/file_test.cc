#include "server/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "server/base/status_macros.h"

namespace hydrad {
namespace {

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/file_test_" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

// `count` bytes from `offset` on, or the error.
absl::StatusOr<std::string> Read(const File& file, uint64_t offset, size_t count) {
  std::string bytes(count, '\0');
  RETURN_IF_ERROR(file.ReadAt(offset, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

TEST(File, ReadsAnyRange) {
  const auto file = File::Open(WriteFile("bytes", "hydrad"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 6u);
  EXPECT_EQ(*Read(**file, 0, 6), "hydrad");
  EXPECT_EQ(*Read(**file, 2, 3), "dra");
  EXPECT_EQ(*Read(**file, 6, 0), "");
}

TEST(File, StaysTheSameWhenItsNameIsGivenToAnother) {
  const std::string path = WriteFile("renamed", "still here");
  const auto file = File::Open(path);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(rename(WriteFile("other", "another one").c_str(), path.c_str()), 0);
  EXPECT_EQ(*Read(**file, 0, 10), "still here");
}

TEST(File, SaysWhenItHasBecomeShorter) {
  const std::string path = WriteFile("cut", "hydrad");
  const auto file = File::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, 3);
  EXPECT_EQ(*Read(**file, 0, 3), "hyd");
  const absl::Status cut = Read(**file, 0, 6).status();
  EXPECT_EQ(cut.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(cut.message()).find("file_test_cut: ends at byte 3"), std::string::npos) << cut;
}

TEST(File, NamesAMissingFile) {
  const auto file = File::Open("/nonexistent/model.safetensors");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(file.status().message()).find("model.safetensors"), std::string::npos);
}

TEST(File, RefusesWhatIsNotARegularFile) {
  EXPECT_EQ(File::Open(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string fifo = testing::TempDir() + "/file_test_fifo";
  unlink(fifo.c_str());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(File::Open(fifo).status().code(), absl::StatusCode::kInvalidArgument);  // and does not hang
}

TEST(ReadFile, TakesAllOfItUpToALimit) {
  const std::string path = WriteFile("whole", "abc");
  EXPECT_EQ(*ReadFile(path), "abc");
  EXPECT_EQ(*ReadFile(path, 3), "abc");
  EXPECT_EQ(ReadFile(path, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*ReadFile(WriteFile("empty", "")), "");
  EXPECT_EQ(ReadFile("/nonexistent").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace hydrad
