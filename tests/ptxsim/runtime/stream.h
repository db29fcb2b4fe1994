// Streams that run as late as allowed.
//
// Work waits in its stream's queue until a synchronisation (of the stream, an event, the device, a copy to
// pageable memory) asks for it, and then only what that needs is run. So a program that forgot to synchronise
// sees old data, always, instead of once in a thousand runs. With Options::lazy_streams off, work runs when
// it is enqueued.
//
// Everything here and in the other files of the runtime is guarded by one recursive mutex, RuntimeLock.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include <cuda_runtime_api.h>

#include "runtime/graph.h"

namespace ptxsim {

struct Stream {
  std::deque<std::function<void()>> queue;
  uint64_t issued = 0, done = 0;  // operations
  bool blocking = true;           // ordered against the null stream
  unsigned flags = 0;
  int priority = 0;
  std::shared_ptr<Capture> capture;  // being captured if not null
  std::vector<GraphNode*> tail;      // capture: what the next node depends on
  bool joined = true;                // capture: its last node is known to another stream
};

// What an event's last record stands for.
struct Record {
  std::shared_ptr<Stream> stream;
  uint64_t position = 0;  // done >= position: it has happened
  std::chrono::steady_clock::time_point when;
  std::shared_ptr<Capture> capture;  // recorded in a capture
  std::vector<GraphNode*> nodes;     // its dependencies there
};

class RuntimeLock {
 public:
  RuntimeLock();
  ~RuntimeLock();
};

// The stream behind a handle; null (and a finding) if it was destroyed. The null handle is the legacy stream.
Stream* Find(cudaStream_t handle);
std::shared_ptr<Stream> Share(Stream* stream);
const std::vector<std::shared_ptr<Stream>>& AllStreams();

// Enqueues, or adds a node of `kind` to the capture. `call` is what a kernel node is made of.
cudaError_t Enqueue(cudaStream_t stream, cudaGraphNodeType kind, std::function<void()> run,
                    std::shared_ptr<KernelCall> call = nullptr);

// Runs a stream's operations up to a position, or all of it.
void RunUntil(Stream* stream, uint64_t position);
void Drain(Stream* stream);
void DrainAll();

// Fails, with a finding, if `call` is not allowed while a capture is going on in this thread.
cudaError_t ForbidInCapture(const char* call);

}  // namespace ptxsim

struct CUstream_st {
  std::shared_ptr<ptxsim::Stream> stream;
};
struct CUevent_st {
  std::shared_ptr<ptxsim::Record> record;  // null: never recorded
  unsigned flags = 0;
};
