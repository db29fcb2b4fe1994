// The adapter root on a real file system, with no way out of it.
#ifndef HYDRAD_SERVER_ADAPTERS_POSIX_DISK_H_
#define HYDRAD_SERVER_ADAPTERS_POSIX_DISK_H_

#include <memory>
#include <string>

#include "server/adapters/disk.h"

namespace hydrad {

// How a path is kept beneath the root.
enum class Beneath {
  kKernel,  // openat2 with RESOLVE_BENEATH, NO_SYMLINKS and NO_MAGICLINKS; kWalk where the kernel refuses the
            // call
  kWalk,    // component by component from open directories, following no link
};

// Directories beneath `root` ("" refuses every path with FAILED_PRECONDITION). The root itself may be a link:
// it is the operator's. Beneath it no symbolic link is followed, neither to a directory nor to a file, and
// only regular files are opened; opening a FIFO or a device never waits and has no effect.
std::unique_ptr<Disk> MakePosixDisk(std::string root, Beneath beneath = Beneath::kKernel);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_POSIX_DISK_H_
