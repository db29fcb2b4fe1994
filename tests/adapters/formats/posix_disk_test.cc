#include "server/adapters/formats/posix_disk.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

namespace hydrad {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

// root/a/b/file, and outside of the root: secret/file.
class PosixDiskTest : public ::testing::Test {
 protected:
  PosixDiskTest() {
    std::string pattern = ::testing::TempDir() + "/posix_disk_XXXXXX";
    top_ = mkdtemp(pattern.data());
    fs::create_directories(top_ / "root/a/b");
    fs::create_directories(top_ / "secret");
    std::ofstream(top_ / "root/a/b/file") << "hello";
    std::ofstream(top_ / "secret/file") << "secret";
    disk_ = MakePosixDisk(top_ / "root");
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

TEST_F(PosixDiskTest, ReadsFilesBeneathTheRoot) {
  const auto directory = disk_->OpenDirectory("a/b");
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_TRUE((*directory)->Has("file"));
  EXPECT_FALSE((*directory)->Has("other"));
  const auto file = (*directory)->OpenFile("file");
  ASSERT_TRUE(file.ok()) << file.status();
  Sha256 digest;
  EXPECT_EQ(ReadWhole(**file, 100, digest)->text(), "hello");
}

TEST_F(PosixDiskTest, MissingThingsAreNotFound) {
  EXPECT_EQ(Directory("a/c").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Directory("x/y").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(File("a/b", "other").code(), absl::StatusCode::kNotFound);
  Refused(Directory("a/b/file"), "is not a directory");
  Refused(Directory("a/" + std::string(256, 'b')), "longer than any directory's");
}

TEST_F(PosixDiskTest, NoPathLeavesTheRoot) {
  for (const std::string& path : {std::string("../secret"), std::string("a/../../secret"), std::string("/"),
                                  (top_ / "secret").string(), std::string("a/b/../../../secret")}) {
    EXPECT_EQ(Directory(path).code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

TEST_F(PosixDiskTest, LinksThatStayBeneathTheRootAreFollowed) {
  fs::create_directory_symlink("a", top_ / "root/in");
  fs::create_directory_symlink("../root/../root/a", top_ / "root/a/b/around");  // b/.. is a, and so on
  fs::create_directory_symlink(top_ / "root/a", top_ / "root/absolute");
  fs::create_directory_symlink("/", top_ / "root/a/slash");
  fs::create_symlink("file", top_ / "root/a/b/beside");
  fs::create_symlink("../../a/b/beside", top_ / "root/a/b/twice");
  fs::create_symlink(top_ / "root/a/b/file", top_ / "root/a/b/absolute");
  for (const char* path : {"in", "in/b", "absolute/b"}) EXPECT_TRUE(Directory(path).ok()) << Directory(path);
  EXPECT_EQ(Directory("a/b/around").code(), absl::StatusCode::kNotFound) << "there is no root in a";
  Refused(Directory("a/slash"), "leads out of the adapter root");
  for (const char* name : {"beside", "twice", "absolute"}) {
    const auto directory = *disk_->OpenDirectory("in/b");
    const auto file = directory->OpenFile(name);
    ASSERT_TRUE(file.ok()) << name << file.status();
    Sha256 digest;
    EXPECT_EQ(ReadWhole(**file, 100, digest)->text(), "hello");
  }
}

// What the hub's cache and a mounted ConfigMap look like.
TEST_F(PosixDiskTest, CachesOfLinksAreRead) {
  fs::create_directories(top_ / "root/hub/blobs");
  fs::create_directories(top_ / "root/hub/snapshots/0123");
  fs::rename(top_ / "root/a/b/file", top_ / "root/hub/blobs/sha");
  fs::create_symlink("../../blobs/sha", top_ / "root/hub/snapshots/0123/file");
  EXPECT_TRUE(File("hub/snapshots/0123", "file").ok());
  fs::create_directories(top_ / "root/map/..2026");
  std::ofstream(top_ / "root/map/..2026/file") << "one";
  fs::create_directory_symlink("..2026", top_ / "root/map/..data");
  fs::create_symlink("..data/file", top_ / "root/map/file");
  EXPECT_TRUE(File("map", "file").ok());
}

TEST_F(PosixDiskTest, LinksThatLeaveTheRootAreRefused) {
  fs::create_directory_symlink("../secret", top_ / "root/out");
  fs::create_directory_symlink(top_ / "root-2", top_ / "root/namesake");
  fs::create_directory_symlink("/proc/self/cwd", top_ / "root/magic");
  fs::create_directory_symlink("loop", top_ / "root/loop");
  fs::create_symlink("../../../secret/file", top_ / "root/a/b/link");
  fs::create_symlink("..", top_ / "root/a/b/up");
  fs::create_directories(top_ / "root-2");
  for (const char* path : {"out", "magic", "namesake"})
    Refused(Directory(path), "leads out of the adapter root");
  Refused(File("a/b", "link"), "leads out of the adapter root");
  Refused(File("a/b", "up"), "is not a regular file");
  Refused(Directory("loop"), "too many symbolic links");
}

// Somebody swaps what is there for links and back; whatever is opened is what lies beneath the root.
TEST_F(PosixDiskTest, NoRaceLeadsOut) {
  fs::create_directory_symlink("../secret", top_ / "root/out");
  fs::create_directories(top_ / "root/c/b");
  std::ofstream(top_ / "root/c/b/file") << "hello";
  fs::create_symlink("../../../secret/file", top_ / "root/c/b/out");
  std::atomic<bool> stop = false;
  std::thread other([&] {
    const auto swap = [&](const char* a, const char* b) {
      renameat2(AT_FDCWD, (top_ / a).c_str(), AT_FDCWD, (top_ / b).c_str(), RENAME_EXCHANGE);
    };
    while (!stop) {
      swap("root/c", "root/out");
      swap("root/c", "root/out");
      swap("root/c/b/file", "root/c/b/out");
      swap("root/c/b/file", "root/c/b/out");
      swap("root/a", "secret");  // what is walked through is moved out of the root
      swap("root/a", "secret");
    }
  });
  int read = 0;
  for (int i = 0; i < 3000; ++i) {
    for (const char* path : {"c/b", "a/b"}) {
      const auto directory = disk_->OpenDirectory(path);
      if (!directory.ok()) continue;
      const auto file = (*directory)->OpenFile("file");
      if (!file.ok()) continue;
      Sha256 digest;
      ASSERT_EQ(ReadWhole(**file, 100, digest)->text(), "hello");
      ++read;
    }
  }
  stop = true;
  other.join();
  EXPECT_TRUE(File("c/b", "file").ok());
}

TEST_F(PosixDiskTest, PathsAreTakenAsPeopleTypeThem) {
  const std::string root = (top_ / "root").string();
  for (const std::string& path : {std::string("a/b"), std::string("a/b/"), std::string("./a/b"),
                                  std::string("a//b"), root + "/a/b", root + "//a/b/", root + "/./a/b"}) {
    EXPECT_EQ(disk_->Locate(path).value_or("refused"), "a/b") << path;
  }
  for (const std::string& path :
       {std::string(""), std::string("."), std::string("/"), std::string("/etc"), root, root + "/",
        root + "-2/a", root + "/../secret", std::string("a/../b")}) {
    EXPECT_EQ(disk_->Locate(path).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
  fs::create_directory_symlink("root", top_ / "entry");
  const auto linked = MakePosixDisk(top_ / "entry/");
  EXPECT_EQ(*linked->Locate((top_ / "entry/a").string()), "a");
  EXPECT_EQ(*linked->Locate(fs::canonical(top_ / "root/a").string()), "a") << "where the root's link leads";
}

TEST_F(PosixDiskTest, RootItselfMayBeALink) {
  fs::create_directory_symlink("root", top_ / "entry");
  EXPECT_TRUE(MakePosixDisk(top_ / "entry")->OpenDirectory("a/b").ok());
}

TEST_F(PosixDiskTest, OnlyRegularFilesAreOpened) {
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

TEST_F(PosixDiskTest, OpenDirectoryStaysTheSameWhenItsNameIsGivenAway) {
  const auto directory = *disk_->OpenDirectory("a/b");
  fs::rename(top_ / "root/a/b", top_ / "root/a/old");
  fs::create_directory_symlink("../../secret", top_ / "root/a/b");
  Sha256 digest;
  EXPECT_EQ(ReadWhole(**directory->OpenFile("file"), 100, digest)->text(), "hello");
}

TEST_F(PosixDiskTest, WithoutARootEverythingIsRefused) {
  const auto none = MakePosixDisk("")->OpenDirectory("a").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kFailedPrecondition);
  const auto gone = MakePosixDisk(top_ / "gone")->OpenDirectory("a").status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(gone.message()), Not(HasSubstr(top_.string())));
}

}  // namespace
}  // namespace hydrad
