#include "server/backend/cuda/graphs.h"

namespace hydrad {
namespace {

CudaGraph Record(cudaStream_t stream, absl::FunctionRef<void()> ops) {
  // Other threads upload adapters meanwhile, which is none of this recording's business.
  HYDRAD_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  ops();
  cudaGraph_t made;
  HYDRAD_CUDA_CHECK(cudaStreamEndCapture(stream, &made));
  const CudaHandle<cudaGraph_t, &cudaGraphDestroy> graph(made);
  cudaGraphExec_t executable;
  HYDRAD_CUDA_CHECK(cudaGraphInstantiate(&executable, made, 0));
  return CudaGraph(executable);
}

}  // namespace

void StepGraphs::Run(const StepForm& form, cudaStream_t stream, absl::FunctionRef<void()> ops) {
  const auto [graph, first] = graphs_.try_emplace(form);
  if (first) return ops();
  if (graph->second == nullptr) graph->second = Record(stream, ops);
  HYDRAD_CUDA_CHECK(cudaGraphLaunch(graph->second.get(), stream));
}

void StepGraphs::Clear(cudaStream_t stream) {
  if (graphs_.empty()) return;
  HYDRAD_CUDA_CHECK(cudaStreamSynchronize(stream));
  graphs_.clear();
}

}  // namespace hydrad
