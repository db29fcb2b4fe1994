#include "server/backend/cuda/graphs.h"

#include <cstdio>
#include <string>

#include "server/backend/device_errors.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// However the recording goes, the stream is not being captured when this returns.
absl::StatusOr<CudaGraph> Record(cudaStream_t stream, absl::FunctionRef<absl::Status()> ops) {
  // Other threads upload adapters meanwhile, which is none of this recording's business.
  RETURN_IF_ERROR(
      CudaStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a step"));
  const absl::Status launched = ops();
  cudaGraph_t made = nullptr;
  const absl::Status ended = CudaStatus(cudaStreamEndCapture(stream, &made), "recording a step");
  const CudaHandle<cudaGraph_t, &cudaGraphDestroy> graph(made);
  RETURN_IF_ERROR(launched);
  RETURN_IF_ERROR(ended);
  cudaGraphExec_t executable;
  RETURN_IF_ERROR(CudaStatus(cudaGraphInstantiate(&executable, made, 0), "recording a step"));
  return CudaGraph(executable);
}

}  // namespace

absl::Status StepGraphs::Run(const StepForm& form, cudaStream_t stream,
                             absl::FunctionRef<absl::Status()> ops) {
  if (forgotten_) RETURN_IF_ERROR(Clear(stream));
  const auto found = forms_.find(form);
  if (found == forms_.end()) {
    RETURN_IF_ERROR(ops());
    forms_.try_emplace(form);
    return absl::OkStatus();
  }
  Form& known = found->second;
  if (known.refused) return ops();
  if (known.graph == nullptr) {
    absl::StatusOr<CudaGraph> recorded = Record(stream, ops);
    if (!recorded.ok()) {
      if (IsDeviceLost(recorded.status())) return recorded.status();
      known.refused = true;
      std::fprintf(stderr, "hydrad: steps of %d rows are not recorded: %s\n", form.rows,
                   std::string(recorded.status().message()).c_str());
      return ops();  // none of them has run: they were only recorded
    }
    known.graph = *std::move(recorded);
  }
  return CudaStatus(cudaGraphLaunch(known.graph.get(), stream), "launching a recorded step");
}

absl::Status StepGraphs::Clear(cudaStream_t stream) {
  if (!forms_.empty()) {
    RETURN_IF_ERROR(CudaStatus(cudaStreamSynchronize(stream), "waiting for recorded steps"));
  }
  forms_.clear();
  forgotten_ = false;
  return absl::OkStatus();
}

}  // namespace hydrad
