// Recorded steps: what a step of a form launched, launched again as one.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_GRAPHS_H_
#define HYDRAD_SERVER_BACKEND_CUDA_GRAPHS_H_

#include <absl/functional/function_ref.h>

#include <compare>
#include <map>

#include "server/backend/cuda/cuda_handles.h"
#include "server/backend/cuda/step_tables.h"

namespace hydrad {

// Two steps of one form launch the same kernels on the same addresses: only what the addresses hold differs.
struct StepForm {
  int rows;
  bool adapters;
  StepEnds ends;
  auto operator<=>(const StepForm&) const = default;
};

// Owned by the scheduler thread.
class StepGraphs {
 public:
  // The first step of a form runs `ops` as they are, which also loads kernels and picks algorithms; the
  // second is recorded; from then on `ops` is not called. `ops` launches on `stream` and waits for nothing.
  void Run(const StepForm& form, cudaStream_t stream, absl::FunctionRef<void()> ops);
  // For when an address that was recorded is no longer right. Waits for the stream.
  void Clear(cudaStream_t stream);

 private:
  std::map<StepForm, CudaGraph> graphs_;  // null: has run once
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_GRAPHS_H_
