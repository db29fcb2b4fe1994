#include "server/preflight.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "server/access.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/limits.h"
#include "server/model/transformer.h"
#include "server/sizing.h"

namespace hydrad {
namespace {

constexpr uint64_t kLibraryBytes = 512 << 20;

// Of ours and gRPC's, beside those of the kernels: each of the two listeners has a few, and gRPC some per
// core.
int MostThreads(const Config& config) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return (config.threads > 0 ? config.threads : cores) + 32 + 2 * std::min(cores, 16);
}

// Addresses that the daemon may come to take with this configuration: weights as they lie on the disk and as
// they are packed, cache, adapters, stacks, and what libraries take.
uint64_t MostAddresses(const Config& config, const ModelConfig& model, const ModelLimits& limits) {
  uint64_t bytes = kLibraryBytes + config.adapter_device_memory + config.adapter_host_memory;
  bytes += limits.kv_blocks * KvBlockBytes(model, limits, KvType(config));
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(config.model, error)) {
    if (file.path().extension() == ".safetensors") bytes += 2 * file.file_size(error);
  }
  rlimit stack{};
  getrlimit(RLIMIT_STACK, &stack);
  const uint64_t one = stack.rlim_cur == RLIM_INFINITY ? 2 << 20 : stack.rlim_cur;
  return bytes + MostThreads(config) * one;
}

}  // namespace

DType WeightType(const Config& config) { return config.weights == "f32" ? DType::kF32 : DType::kBf16; }

DType KvType(const Config& config) { return WeightType(config); }

absl::Status CheckConfig(const Config& config) {
  RETURN_IF_ERROR(CheckExposures(config));
  RETURN_IF_ERROR(Tenants(config).status());
  RETURN_IF_ERROR(CertificatesOf(config).status());
  std::error_code error;
  if (!config.adapter_root.empty() && !std::filesystem::is_directory(config.adapter_root, error)) {
    return NotFound("--adapter-root '{}' is not a directory", config.adapter_root);
  }
  ASSIGN_OR_RETURN(const ModelConfig model, LoadModelConfig(config.model));
  return SizeModel(config, model, KvType(config), /*budgeted=*/false).status();
}

absl::Status CheckSystem(const Config& config) {
  RETURN_IF_ERROR(CheckThreads(MostThreads(config)));
  ASSIGN_OR_RETURN(const ModelConfig model, LoadModelConfig(config.model));
  ASSIGN_OR_RETURN(const ModelLimits limits, SizeModel(config, model, KvType(config), /*budgeted=*/false));
  return CheckAddressSpace(MostAddresses(config, model, limits));
}

}  // namespace hydrad
