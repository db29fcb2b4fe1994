// Captured graphs. A node is an operation and the nodes before it; an executable graph has its own copy of
// the nodes, so that updating or destroying one leaves the other alone.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <cuda_runtime_api.h>

#include "core/exec.h"

namespace ptxsim {

// A kernel launch whose arguments have been copied.
struct KernelCall {
  const void* function = nullptr;  // the host's handle
  const Kernel* kernel = nullptr;
  Dim3 grid, block;
  uint32_t dynamic_shared = 0;
  std::vector<std::byte> params;
  std::vector<void*> arguments;  // into params, for cudaGraphKernelNodeGetParams
};

// Runs it now. Errors become the runtime's sticky error.
void RunKernel(const KernelCall& call);

}  // namespace ptxsim

// A node handle is the node of the graph it was captured into.
struct CUgraphNode_st {
  cudaGraphNodeType kind;
  size_t index;  // in its graph
  std::function<void()> run;
  std::shared_ptr<ptxsim::KernelCall> call;  // kernel nodes; `run` is empty
  std::vector<size_t> after;                 // indices of the nodes it depends on
};

namespace ptxsim {

using GraphNode = CUgraphNode_st;

struct Graph {
  std::vector<std::unique_ptr<GraphNode>> nodes;
};

struct Capture {
  std::shared_ptr<Graph> graph;
  struct Stream* origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  unsigned long long id;
  bool broken = false;
};

// An order in which the nodes may run: the captured one, or with `late` one as different from it as the
// dependencies allow.
std::vector<size_t> RunOrder(const Graph& graph, bool late);

}  // namespace ptxsim

struct CUgraph_st {
  std::shared_ptr<ptxsim::Graph> graph;
};
struct CUgraphExec_st {
  std::shared_ptr<ptxsim::Graph> graph;
};
