#include "server/metrics/nvml.h"

#include <dlfcn.h>

#include "server/base/status.h"

namespace hydrad {

// The functions of nvml.h (of CUDA's developer files, which are not needed to build), with their structs.
struct Nvml::Functions {
  struct Memory {
    unsigned long long total, free, used;  // bytes
  };
  struct Utilization {
    unsigned gpu, memory;  // percent
  };
  int (*init)();
  int (*shutdown)();
  const char* (*error_string)(int);
  int (*find_device)(const char* pci_address, void** device);
  int (*power)(void* device, unsigned* milliwatts);
  int (*energy)(void* device, unsigned long long* millijoules);  // since the driver was loaded
  int (*memory)(void* device, Memory*);
  int (*utilization)(void* device, Utilization*);
};

namespace {

// Returns what the call puts into its last argument; nullopt where the GPU does not tell, or no longer does.
template <class Value>
std::optional<Value> Ask(int (*function)(void*, Value*), void* device) {
  Value value{};
  if (function(device, &value) != 0) return std::nullopt;
  return value;
}

template <class Function>
bool Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

Nvml::Nvml() : functions_(std::make_unique<Functions>()) {}

Nvml::~Nvml() {
  if (begun_) functions_->shutdown();
}

absl::StatusOr<std::unique_ptr<Nvml>> Nvml::Open(const std::string& library, const std::string& pci_address) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded
  if (handle == nullptr) return Unavailable("{}", dlerror());
  std::unique_ptr<Nvml> nvml(new Nvml);
  Functions& f = *nvml->functions_;
  const bool found = Find(handle, "nvmlInit_v2", f.init) && Find(handle, "nvmlShutdown", f.shutdown) &&
                     Find(handle, "nvmlErrorString", f.error_string) &&
                     Find(handle, "nvmlDeviceGetHandleByPciBusId_v2", f.find_device) &&
                     Find(handle, "nvmlDeviceGetPowerUsage", f.power) &&
                     Find(handle, "nvmlDeviceGetTotalEnergyConsumption", f.energy) &&
                     Find(handle, "nvmlDeviceGetMemoryInfo", f.memory) &&
                     Find(handle, "nvmlDeviceGetUtilizationRates", f.utilization);
  if (!found) return Unavailable("{}", dlerror());
  if (const int error = f.init(); error != 0) return Unavailable("nvmlInit: {}", f.error_string(error));
  nvml->begun_ = true;
  if (const int error = f.find_device(pci_address.c_str(), &nvml->device_); error != 0) {
    return Unavailable("GPU {}: {}", pci_address, f.error_string(error));
  }
  nvml->energy_at_open_ = nvml->Read().energy_joules.value_or(0);
  return nvml;
}

DeviceReading Nvml::Read() const {
  const Functions& f = *functions_;
  DeviceReading reading;
  if (const auto milliwatts = Ask(f.power, device_)) reading.power_watts = *milliwatts / 1e3;
  if (const auto millijoules = Ask(f.energy, device_)) {
    reading.energy_joules = static_cast<double>(*millijoules) / 1e3 - energy_at_open_;
  }
  if (const auto memory = Ask(f.memory, device_)) {
    reading.memory_used_bytes = static_cast<double>(memory->used);
  }
  if (const auto rates = Ask(f.utilization, device_)) reading.utilization = rates->gpu / 1e2;
  return reading;
}

}  // namespace hydrad
