// Runs a recording of steps (hydrad --record-steps) again, on the CPU, and says at which step it gives
// something else.
//
//   replay_steps [--f32] MODEL_DIR STEPS [ADAPTER_DIR...]
//
// --f32: as the daemon ran with --weights f32. Adapters are loaded in the order in which they are
// given and so get the slots 0, 1, ...: give them as the daemon loaded them, with paths that are relative to
// the working directory. An adapter that holds several experts takes a slot for each. Exits with 0 if all is
// the same, with 1 if a step gives something else, and with 2 if the recording cannot be run.
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/cpu/cpu_backend.h"
#include "server/base/file.h"
#include "server/base/status_macros.h"
#include "server/model/step_record.h"
#include "server/model/transformer.h"
#include "tests/scheduler/moa_mixture.h"

namespace hydrad {
namespace {

absl::StatusOr<Replayed> Replay(DType weights, std::span<const char* const> paths) {
  ASSIGN_OR_RETURN(const std::string recording, ReadFile(paths[1], uint64_t{1} << 34));
  ASSIGN_OR_RETURN(const ModelLimits limits, LimitsOfRecording(recording));
  const auto backend = MakeCpuBackend({.weight_type = weights});
  ASSIGN_OR_RETURN(const auto model, LoadTransformer(paths[0], *backend, limits));
  const AdapterShape shape = model->config().adapter_shape();
  std::vector<std::vector<std::shared_ptr<const DeviceComponent>>> adapters;
  std::vector<std::shared_ptr<const Mixture>> mixtures;
  for (const char* path : paths.subspan(2)) {
    ASSIGN_OR_RETURN(adapters.emplace_back(), LoadComponents(path, *backend, shape));
    if (!adapters.back().front()->routers) continue;
    mixtures.push_back(MakeMixture(adapters.back(), shape.layers));
  }
  return ReplaySteps(recording, *model, backend->device_adapters());
}

int Main(std::span<const char* const> arguments) {
  const bool f32 = !arguments.empty() && std::string_view(arguments[0]) == "--f32";
  if (f32) arguments = arguments.subspan(1);
  if (arguments.size() < 2) {
    std::fprintf(stderr, "usage: replay_steps [--f32] MODEL_DIR STEPS [ADAPTER_DIR...]\n");
    return 2;
  }
  const absl::StatusOr<Replayed> replayed = Replay(f32 ? DType::kF32 : DType::kBf16, arguments);
  if (!replayed.ok()) {
    std::fprintf(stderr, "%s\n", std::string(replayed.status().message()).c_str());
    return 2;
  }
  if (replayed->first_other > 0) {
    std::printf("step %d gives something else than was recorded\n", replayed->first_other);
    return 1;
  }
  std::printf("%d steps, %d results, all the same\n", replayed->steps, replayed->results);
  return 0;
}

}  // namespace
}  // namespace hydrad

int main(int argc, char** argv) { return hydrad::Main({argv + 1, static_cast<size_t>(argc - 1)}); }
