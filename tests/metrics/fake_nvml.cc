// A libnvidia-ml.so.1 for tests: one GPU, whose counters grow with every question. Built as a shared object.
// FAKE_NVML, if set, is what it does not tell: "gpu" (it finds none), "energy" or "init".
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kNotSupported = 3, kNotFound = 6, kUninitialized = 1;

int users = 0;
unsigned long long millijoules = 5'000'000;  // since the driver was loaded
unsigned milliwatts = 250'000;

bool Lacks(const char* what) {
  const char* lacking = std::getenv("FAKE_NVML");
  return lacking != nullptr && std::strcmp(lacking, what) == 0;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int nvmlInit_v2() {
  if (Lacks("init")) return kNotFound;
  ++users;
  return 0;
}
EXPORT int nvmlShutdown() {
  --users;
  return 0;
}
EXPORT const char* nvmlErrorString(int error) { return error == kNotFound ? "Not Found" : "Not Supported"; }
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device) {
  if (users == 0) return kUninitialized;
  if (Lacks("gpu") || std::strlen(address) != std::strlen("00000000:65:00.0")) return kNotFound;
  *device = &millijoules;
  return 0;
}
EXPORT int nvmlDeviceGetPowerUsage(void*, unsigned* value) {
  *value = milliwatts += 500;
  return 0;
}
EXPORT int nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long* value) {
  if (Lacks("energy")) return kNotSupported;
  *value = millijoules += 1500;
  return 0;
}
EXPORT int nvmlDeviceGetMemoryInfo(void*, unsigned long long* total_free_used) {
  total_free_used[0] = 80ull << 30;
  total_free_used[1] = 60ull << 30;
  total_free_used[2] = 20ull << 30;
  return 0;
}
EXPORT int nvmlDeviceGetUtilizationRates(void*, unsigned* gpu_and_memory) {
  gpu_and_memory[0] = 75;
  gpu_and_memory[1] = 40;
  return 0;
}
EXPORT int fake_nvml_users() { return users; }  // between Init and Shutdown
