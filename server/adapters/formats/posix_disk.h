// The adapter root on a real file system, which nothing leads out of.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_POSIX_DISK_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_POSIX_DISK_H_

#include <memory>
#include <string>

#include "server/adapters/formats/disk.h"

namespace hydrad {

// Directories beneath `root` ("" refuses every path with FAILED_PRECONDITION). The root itself may be a link:
// it is the operator's. Beneath it links are followed to what lies beneath the root, as those of the Hugging
// Face hub's cache and of a mounted ConfigMap do, and refused where they leave it (RootedPath); only regular
// files are opened; opening a FIFO or a device never waits and has no effect.
std::unique_ptr<Disk> MakePosixDisk(std::string root);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_POSIX_DISK_H_
