#include "runtime/graph.h"

#include <algorithm>
#include <cstring>

#include "core/options.h"
#include "runtime/error.h"
#include "runtime/injection.h"
#include "runtime/launch.h"
#include "runtime/stream.h"

namespace ptxsim {
namespace {

std::shared_ptr<Graph> Copy(const Graph& graph) {
  auto copy = std::make_shared<Graph>();
  for (const auto& node : graph.nodes) {
    auto made = std::make_unique<GraphNode>(*node);
    if (node->call != nullptr) made->call = std::make_shared<KernelCall>(*node->call);
    copy->nodes.push_back(std::move(made));
  }
  return copy;
}

cudaError_t ReadParams(const GraphNode* node, cudaKernelNodeParams* params) {
  if (node == nullptr || node->call == nullptr) return Fail(cudaErrorInvalidValue);
  KernelCall& call = *node->call;
  call.arguments.clear();
  for (const Param& p : call.kernel->params) call.arguments.push_back(call.params.data() + p.offset);
  *params = {};
  params->func = const_cast<void*>(call.function);
  params->gridDim = {call.grid.x, call.grid.y, call.grid.z};
  params->blockDim = {call.block.x, call.block.y, call.block.z};
  params->sharedMemBytes = call.dynamic_shared;
  params->kernelParams = call.arguments.data();
  return cudaSuccess;
}

cudaError_t WriteParams(GraphNode* node, const cudaKernelNodeParams* params) {
  if (node->call == nullptr || params->extra != nullptr) return Fail(cudaErrorInvalidValue);
  auto call = std::make_shared<KernelCall>();
  cudaError_t error = MakeCall(params->func, params->gridDim, params->blockDim, params->kernelParams,
                               params->sharedMemBytes, call.get());
  if (error == cudaSuccess) node->call = std::move(call);
  return error;
}

}  // namespace

std::vector<size_t> RunOrder(const Graph& graph, bool late) {
  const size_t count = graph.nodes.size();
  std::vector<size_t> order, missing(count);
  std::vector<std::vector<size_t>> next(count);
  std::vector<size_t> ready;  // a stack
  for (size_t n = 0; n < count; ++n) {
    missing[n] = graph.nodes[n]->after.size();
    for (size_t before : graph.nodes[n]->after) next[before].push_back(n);
    if (missing[n] == 0) ready.push_back(n);
  }
  while (!ready.empty()) {
    auto pick =
        late ? std::max_element(ready.begin(), ready.end()) : std::min_element(ready.begin(), ready.end());
    size_t n = *pick;
    ready.erase(pick);
    order.push_back(n);
    for (size_t follower : next[n]) {
      if (--missing[follower] == 0) ready.push_back(follower);
    }
  }
  return order;
}

}  // namespace ptxsim

using namespace ptxsim;

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (graph == nullptr) return Fail(cudaErrorInvalidValue);
  *exec = std::make_unique<CUgraphExec_st>(CUgraphExec_st{Copy(*graph->graph)}).release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long flags) {
  return cudaGraphInstantiate(exec, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (exec == nullptr) return Fail(cudaErrorInvalidValue);
  auto graph = Copy(*exec->graph);  // later updates do not reach this launch
  return Enqueue(stream, cudaGraphNodeTypeGraph, [graph] {
    for (size_t n : RunOrder(*graph, GetOptions().lazy_streams)) {
      const GraphNode& node = *graph->nodes[n];
      if (node.call != nullptr)
        RunKernel(*node.call);
      else if (node.run)
        node.run();
    }
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  std::unique_ptr<CUgraph_st> gone(graph);
  return injected;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  std::unique_ptr<CUgraphExec_st> gone(exec);
  return injected;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  size_t have = graph->graph->nodes.size();
  if (nodes != nullptr) {
    for (size_t n = 0; n < std::min(*count, have); ++n) {
      nodes[n] = graph->graph->nodes[n].get();
    }
  }
  *count = have;
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  *type = node->kind;
  return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams* params) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return ReadParams(node, params);
}

cudaError_t cudaGraphKernelNodeSetParams(cudaGraphNode_t node, const cudaKernelNodeParams* params) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return WriteParams(node, params);
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* params) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (node->index >= exec->graph->nodes.size()) return Fail(cudaErrorInvalidValue);
  return WriteParams(exec->graph->nodes[node->index].get(), params);
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  *info = {};
  info->result = cudaGraphExecUpdateSuccess;
  const auto &now = exec->graph->nodes, &next = graph->graph->nodes;
  if (now.size() != next.size()) info->result = cudaGraphExecUpdateErrorTopologyChanged;
  for (size_t n = 0; n < next.size() && info->result == cudaGraphExecUpdateSuccess; ++n) {
    if (now[n]->kind != next[n]->kind)
      info->result = cudaGraphExecUpdateErrorNodeTypeChanged;
    else if (now[n]->after != next[n]->after)
      info->result = cudaGraphExecUpdateErrorTopologyChanged;
    if (info->result != cudaGraphExecUpdateSuccess) info->errorNode = next[n].get();
  }
  if (info->result != cudaGraphExecUpdateSuccess) return Fail(cudaErrorGraphExecUpdateFailure);
  exec->graph = Copy(*graph->graph);
  return cudaSuccess;
}
