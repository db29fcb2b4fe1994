#include "server/adapters/posix_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace hydrad {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

// root/a/b/file, and outside of the root: secret/file.
class PosixDiskTest : public ::testing::TestWithParam<Beneath> {
 protected:
  PosixDiskTest() {
    std::string pattern = ::testing::TempDir() + "/posix_disk_XXXXXX";
    top_ = mkdtemp(pattern.data());
    fs::create_directories(top_ / "root/a/b");
    fs::create_directories(top_ / "secret");
    std::ofstream(top_ / "root/a/b/file") << "hello";
    std::ofstream(top_ / "secret/file") << "secret";
    disk_ = MakePosixDisk(top_ / "root", GetParam());
  }
  ~PosixDiskTest() override { fs::remove_all(top_); }

  absl::Status Directory(const std::string& path) { return disk_->OpenDirectory(path).status(); }
  absl::Status File(const std::string& directory, const std::string& name) {
    const auto opened = disk_->OpenDirectory(directory);
    if (!opened.ok()) return opened.status();
    return (*opened)->OpenFile(name).status();
  }
  void Refused(const absl::Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(top_.string()))) << "no path of the server";
  }

  fs::path top_;
  std::unique_ptr<Disk> disk_;
};

TEST_P(PosixDiskTest, ReadsFilesBeneathTheRoot) {
  const auto directory = disk_->OpenDirectory("a/b");
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_TRUE((*directory)->Has("file"));
  EXPECT_FALSE((*directory)->Has("other"));
  const auto file = (*directory)->OpenFile("file");
  ASSERT_TRUE(file.ok()) << file.status();
  Sha256 digest;
  EXPECT_EQ(ReadWhole(**file, 100, digest)->text(), "hello");
}

TEST_P(PosixDiskTest, MissingThingsAreNotFound) {
  EXPECT_EQ(Directory("a/c").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Directory("x/y").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(File("a/b", "other").code(), absl::StatusCode::kNotFound);
  Refused(Directory("a/b/file"), "is not a directory");
  Refused(Directory("a/" + std::string(256, 'b')), "longer than any directory's");
}

TEST_P(PosixDiskTest, NoPathLeavesTheRoot) {
  for (const std::string& path : {std::string("../secret"), std::string("a/../../secret"), std::string("/"),
                                  (top_ / "secret").string(), std::string("a/b/../../../secret")}) {
    EXPECT_EQ(Directory(path).code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

TEST_P(PosixDiskTest, NoLinkIsFollowed) {
  fs::create_directory_symlink("../secret", top_ / "root/out");
  fs::create_directory_symlink("a", top_ / "root/in");
  fs::create_directory_symlink("/proc/self/cwd", top_ / "root/magic");
  fs::create_symlink("../../../secret/file", top_ / "root/a/b/link");
  fs::create_symlink("file", top_ / "root/a/b/inside");
  for (const char* path : {"out", "in", "in/b", "magic"}) Refused(Directory(path), "symbolic link");
  Refused(File("a/b", "link"), "is a symbolic link");
  Refused(File("a/b", "inside"), "is a symbolic link");
}

TEST_P(PosixDiskTest, RootItselfMayBeALink) {
  fs::create_directory_symlink("root", top_ / "entry");
  EXPECT_TRUE(MakePosixDisk(top_ / "entry", GetParam())->OpenDirectory("a/b").ok());
}

TEST_P(PosixDiskTest, OnlyRegularFilesAreOpened) {
  ASSERT_EQ(mkfifo((top_ / "root/a/b/fifo").c_str(), 0600), 0);
  fs::create_directory(top_ / "root/a/b/directory");
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  std::snprintf(address.sun_path, sizeof(address.sun_path), "%s/root/a/b/socket", top_.c_str());
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(fd);
  for (const char* name : {"fifo", "directory", "socket"})
    Refused(File("a/b", name), "is not a regular file");
}

TEST_P(PosixDiskTest, OpenDirectoryStaysTheSameWhenItsNameIsGivenAway) {
  const auto directory = *disk_->OpenDirectory("a/b");
  fs::rename(top_ / "root/a/b", top_ / "root/a/old");
  fs::create_directory_symlink("../../secret", top_ / "root/a/b");
  Sha256 digest;
  EXPECT_EQ(ReadWhole(**directory->OpenFile("file"), 100, digest)->text(), "hello");
}

TEST_P(PosixDiskTest, WithoutARootEverythingIsRefused) {
  const auto none = MakePosixDisk("", GetParam())->OpenDirectory("a").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kFailedPrecondition);
  const auto gone = MakePosixDisk(top_ / "gone", GetParam())->OpenDirectory("a").status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(gone.message()), Not(HasSubstr(top_.string())));
}

INSTANTIATE_TEST_SUITE_P(Both, PosixDiskTest, ::testing::Values(Beneath::kKernel, Beneath::kWalk),
                         [](const auto& info) { return info.param == Beneath::kKernel ? "Kernel" : "Walk"; });

}  // namespace
}  // namespace hydrad
