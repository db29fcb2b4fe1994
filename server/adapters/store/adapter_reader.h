// From an adapter's files to its components in host memory, and on to the device.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_READER_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_READER_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/adapters/formats/disk.h"
#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/device_component.h"
#include "server/adapters/store/host_component.h"
#include "server/backend/adapter_weights.h"  // AdapterShape

namespace hydrad {

class Backend;

// Knows the disk, the device and the base model, and nothing of names or of what is in memory: whoever calls
// it has reserved the bytes. Thread-safe; every method but Locate waits for the disk or the device.
class AdapterReader {
 public:
  // All must outlive this.
  AdapterReader(Disk& disk, Backend& backend, const AdapterShape& shape, const AdapterStoreOptions& options)
      : disk_(disk), backend_(backend), shape_(shape), options_(options) {}

  // As AdapterStore's.
  absl::StatusOr<std::string> Locate(const std::string& path) const { return disk_.Locate(path); }
  // The most that Read takes of the host for the adapter in `path`.
  absl::StatusOr<uint64_t> BytesToRead(const std::string& path) const;

  // A whole adapter, in TakeApart's order, and what is told of it, in state kUnloaded and with generation 0.
  struct Adapter {
    AdapterInfo info;
    std::vector<LoadedComponent> components;
  };
  // Reads and checks all of `path`. Errors as AdapterStore::Load's.
  absl::StatusOr<Adapter> Read(const std::string& name, const std::string& path,
                               const ChangeOptions& change) const;
  // Reads one component again. Errors as hydrad::ReadComponent's.
  absl::StatusOr<LoadedComponent> ReadComponent(const ComponentInfo& info) const;
  // Copies a component to the device. Errors as hydrad::UploadComponent's.
  absl::StatusOr<std::shared_ptr<const DeviceComponent>> Upload(const HostComponent& component) const;

 private:
  Disk& disk_;
  Backend& backend_;
  const AdapterShape shape_;
  const AdapterStoreOptions& options_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_ADAPTER_READER_H_
