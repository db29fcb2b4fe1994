// A disk that remembers whether it was the disk that failed.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_WATCHED_DISK_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_WATCHED_DISK_H_

#include <memory>
#include <string>
#include <utility>

#include "server/adapters/formats/disk.h"

namespace hydrad {

// Stands before another disk for one reading, which must not outlive it. It tells errors of the disk (nothing
// is there, it may not be read, the device is broken), which may pass, from errors in what was read from it.
// For one thread at a time.
class WatchedDisk final : public Disk {
 public:
  explicit WatchedDisk(Disk& disk) : disk_(disk) {}

  // Whether the last call failed, of the disk or of a directory or file that was opened on it.
  bool failed() const { return failed_; }

  absl::StatusOr<std::string> Locate(std::string_view path) const override { return disk_.Locate(path); }
  absl::StatusOr<std::unique_ptr<DiskDirectory>> OpenDirectory(const std::string& path) override {
    auto directory = disk_.OpenDirectory(path);
    failed_ = !directory.ok();
    if (failed_) return directory.status();
    return std::make_unique<Directory>(*this, *std::move(directory));
  }

 private:
  // A file and a directory of the other disk, which note in the watched one whether a call of theirs failed.
  class File final : public DiskFile {
   public:
    File(WatchedDisk& watch, std::unique_ptr<DiskFile> file) : watch_(watch), file_(std::move(file)) {}
    uint64_t size() const override { return file_->size(); }
    absl::StatusOr<size_t> ReadAt(uint64_t offset, std::span<std::byte> out) override {
      auto got = file_->ReadAt(offset, out);
      watch_.failed_ = !got.ok();
      return got;
    }

   private:
    WatchedDisk& watch_;
    const std::unique_ptr<DiskFile> file_;
  };
  class Directory final : public DiskDirectory {
   public:
    Directory(WatchedDisk& watch, std::unique_ptr<DiskDirectory> directory)
        : watch_(watch), directory_(std::move(directory)) {}
    bool Has(const std::string& name) override { return directory_->Has(name); }
    absl::StatusOr<std::unique_ptr<DiskFile>> OpenFile(const std::string& name) override {
      auto file = directory_->OpenFile(name);
      watch_.failed_ = !file.ok();
      if (watch_.failed_) return file.status();
      return std::make_unique<File>(watch_, *std::move(file));
    }

   private:
    WatchedDisk& watch_;
    const std::unique_ptr<DiskDirectory> directory_;
  };

  Disk& disk_;
  bool failed_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_WATCHED_DISK_H_
