// The memory of the simulated device: one reserved range of addresses, in which device pointers are host
// pointers.
//
// An address is never handed out twice, so a use after free is found however late it comes. Beside the memory
// lie arrays that a kernel's accesses index by address: a byte per 16 bytes that says how many of them are
// allocated (with gaps between allocations), a shadow cell per 4 bytes for the race checks, and two tags per
// 32-byte sector for counting distinct sectors. All are reserved, not committed: they cost what is touched.
//
// Allocate, Free and the queries are thread-safe; a kernel's accesses need no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "core/shadow.h"

namespace ptxsim {

enum class MemoryKind { kDevice, kPinned, kModule };

class DeviceMemory {
 public:
  static constexpr uint64_t kReserved = uint64_t{64} << 30;
  static constexpr uint64_t kGranule = 16;
  static constexpr uint64_t kSector = 32;

  struct Allocation {
    uintptr_t base;
    size_t bytes;
    MemoryKind kind;
  };

  static DeviceMemory& Get();

  // 256-byte aligned and filled with 0xff; null when the device's bytes (Options::device_bytes) are used up.
  void* Allocate(size_t bytes, MemoryKind kind);
  // False if `p` is not the start of a live allocation.
  bool Free(void* p);
  // The live allocation that holds all of [p, p + bytes); false if none does.
  bool Find(const void* p, size_t bytes, Allocation* found) const;
  // The allocation, live or not so long ago, that lies at or below `p`, for error messages.
  std::string Describe(uint64_t address) const;
  bool IsDevice(const void* p, size_t bytes) const;  // found, and not pinned host memory

  void MarkWritten(const void* p, size_t bytes);  // by the host or a library
  void MarkUnwritten(const void* p, size_t bytes);
  void CopyWritten(const void* to, const void* from, size_t bytes);
  bool IsWritten(const void* p, size_t bytes) const;
  void MarkAllWritten();  // when the full checks begin on memory they have not watched

  size_t used() const { return used_; }

  bool Inside(uint64_t address) const { return address - base_ < kReserved; }
  uint64_t base() const { return base_; }
  // Bytes of the access [address, address + bytes), within one granule, that are not allocated: 0 if all is
  // well.
  bool Allocated(uint64_t address, unsigned bytes) const {
    uint64_t at = address - base_;
    return at < kReserved && at % kGranule + bytes <= granules_[at / kGranule];
  }
  Cell* cells(uint64_t address) const { return cells_ + (address - base_) / 4; }
  uint32_t* read_tags(uint64_t sector) const { return read_tags_ + (sector - base_ / kSector); }
  uint32_t* write_tags(uint64_t sector) const { return write_tags_ + (sector - base_ / kSector); }

 private:
  DeviceMemory();
  void SetGranules(uintptr_t base, size_t bytes, bool allocated);

  uint64_t base_ = 0;
  uint8_t* granules_ = nullptr;
  Cell* cells_ = nullptr;
  uint32_t* read_tags_ = nullptr;
  uint32_t* write_tags_ = nullptr;
  mutable std::mutex mutex_;
  std::map<uintptr_t, Allocation> live_, freed_;
  uint64_t next_ = 4096;
  size_t used_ = 0;
};

inline std::string DescribeAddress(uint64_t address) { return DeviceMemory::Get().Describe(address); }

}  // namespace ptxsim
