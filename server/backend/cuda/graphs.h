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
  // second is recorded; from then on `ops` is not called. `ops` launches on `stream`, waits for nothing and
  // returns its first error. A step that cannot be recorded runs as it is, as do those of its form after it.
  absl::Status Run(const StepForm& form, cudaStream_t stream, absl::FunctionRef<absl::Status()> ops);
  // For when an address that was recorded may no longer be right: nothing recorded so far is launched again.
  void Forget() { forgotten_ = true; }

 private:
  struct Form {
    CudaGraph graph;       // null: not recorded yet
    bool refused = false;  // recording it has failed
  };
  absl::Status Clear(cudaStream_t stream);

  std::map<StepForm, Form> forms_;  // that have run
  bool forgotten_ = false;          // forms_ are to go before the next run
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_GRAPHS_H_
