#include "runtime/stream.h"

#include <algorithm>

#include "core/options.h"
#include "runtime/error.h"
#include "runtime/injection.h"

namespace ptxsim {
namespace {

std::recursive_mutex& Mutex() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

struct Streams {
  std::shared_ptr<Stream> legacy = std::make_shared<Stream>();
  std::vector<std::shared_ptr<Stream>> all{legacy};
  std::set<cudaStream_t> handles;
  unsigned long long captures = 0;
};

Streams& Get() {
  static auto* streams = new Streams;
  return *streams;
}

void Push(Stream* stream, std::function<void()> run) {
  stream->queue.push_back(std::move(run));
  ++stream->issued;
}

void PushWait(Stream* stream, std::shared_ptr<Stream> other, uint64_t position) {
  if (other->done < position) Push(stream, [other, position] { RunUntil(other.get(), position); });
}

// The legacy stream waits for all blocking streams, and they for it.
void OrderAgainstLegacy(Stream* stream) {
  Streams& s = Get();
  if (stream == s.legacy.get()) {
    for (auto& other : s.all) {
      if (other != s.legacy && other->blocking) PushWait(stream, other, other->issued);
    }
  } else if (stream->blocking) {
    PushWait(stream, s.legacy, s.legacy->issued);
  }
}

cudaError_t AddNode(Stream* stream, cudaGraphNodeType kind, std::function<void()> run,
                    std::shared_ptr<KernelCall> call) {
  Graph& graph = *stream->capture->graph;
  auto node = std::make_unique<GraphNode>();
  node->kind = kind;
  node->index = graph.nodes.size();
  node->run = std::move(run);
  node->call = std::move(call);
  for (GraphNode* before : stream->tail) node->after.push_back(before->index);
  stream->tail = {node.get()};
  stream->joined = false;
  graph.nodes.push_back(std::move(node));
  return cudaSuccess;
}

}  // namespace

RuntimeLock::RuntimeLock() { Mutex().lock(); }
RuntimeLock::~RuntimeLock() { Mutex().unlock(); }

Stream* Find(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return Get().legacy.get();
  if (handle != cudaStreamPerThread && Get().handles.count(handle)) return handle->stream.get();
  Misuse(cudaErrorInvalidResourceHandle, "use of a stream that does not exist (any more)");
  return nullptr;
}

std::shared_ptr<Stream> Share(Stream* stream) {
  for (auto& s : Get().all) {
    if (s.get() == stream) return s;
  }
  return nullptr;
}

const std::vector<std::shared_ptr<Stream>>& AllStreams() { return Get().all; }

cudaError_t Enqueue(cudaStream_t handle, cudaGraphNodeType kind, std::function<void()> run,
                    std::shared_ptr<KernelCall> call) {
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return AddNode(stream, kind, std::move(run), std::move(call));
  if (stream == Get().legacy.get()) {
    for (auto& s : Get().all) {
      if (s->capture == nullptr || !s->blocking) continue;
      s->capture->broken = true;
      return Misuse(cudaErrorStreamCaptureImplicit,
                    "work on the null stream while a blocking stream is captured");
    }
  }
  OrderAgainstLegacy(stream);
  if (call != nullptr) run = [call] { RunKernel(*call); };
  Push(stream, std::move(run));
  if (!GetOptions().lazy_streams) Drain(stream);
  return cudaSuccess;
}

void RunUntil(Stream* stream, uint64_t position) {
  while (stream->done < position && !stream->queue.empty()) {
    auto run = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (!DeviceLost()) run();
    ++stream->done;
  }
}

void Drain(Stream* stream) { RunUntil(stream, stream->issued); }

void DrainAll() {
  for (auto stream : std::vector(Get().all)) Drain(stream.get());
}

cudaError_t ForbidInCapture(const char* call) {
  for (auto& s : Get().all) {
    if (s->capture == nullptr || s->capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (s->capture->mode == cudaStreamCaptureModeThreadLocal &&
        s->capture->thread != std::this_thread::get_id())
      continue;
    s->capture->broken = true;
    return Misuse(cudaErrorStreamCaptureUnsupported, std::string(call) + " while a stream is captured");
  }
  return cudaSuccess;
}

}  // namespace ptxsim

using namespace ptxsim;

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  auto* made = std::make_unique<CUstream_st>(CUstream_st{std::make_shared<Stream>()}).release();
  made->stream->blocking = !(flags & cudaStreamNonBlocking);
  made->stream->flags = flags;
  made->stream->priority = priority;
  Get().all.push_back(made->stream);
  Get().handles.insert(made);
  *handle = made;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  return cudaStreamCreateWithPriority(handle, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t* handle) { return cudaStreamCreateWithPriority(handle, 0, 0); }

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  Stream* stream = handle == nullptr ? nullptr : Find(handle);
  if (stream == nullptr) return Fail(cudaErrorInvalidResourceHandle);
  Drain(stream);
  auto& all = Get().all;
  all.erase(std::find(all.begin(), all.end(), handle->stream));
  Get().handles.erase(handle);
  std::unique_ptr<CUstream_st> gone(handle);
  return injected;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return ForbidInCapture("cudaStreamSynchronize of a capturing stream");
  OrderAgainstLegacy(stream);
  Drain(stream);
  return Sticky();
}

// Every query gives the stream a step to run, so that a loop of them ends.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return ForbidInCapture("cudaStreamQuery of a capturing stream");
  if (stream->queue.empty()) return Sticky();
  RunUntil(stream, stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  *flags = stream->flags;
  return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  *priority = stream->priority;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (cudaError_t e = ForbidInCapture("cudaDeviceSynchronize"); e != cudaSuccess) return e;
  DrainAll();
  return Sticky();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  return Enqueue(stream, cudaGraphNodeTypeHost, [function, data] { function(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  *event = std::make_unique<CUevent_st>(CUevent_st{nullptr, flags}).release();
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  std::unique_ptr<CUevent_st> gone(event);
  return injected;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  auto record = std::make_shared<Record>();
  record->stream = Share(stream);
  if (stream->capture != nullptr) {
    record->capture = stream->capture;
    record->nodes = stream->tail;
  } else {
    OrderAgainstLegacy(stream);
    Push(stream, [record] { record->when = std::chrono::steady_clock::now(); });
    record->position = stream->issued;
  }
  event->record = record;
  return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  return cudaEventRecord(event, stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  auto record = event->record;
  if (record == nullptr) return cudaSuccess;  // never recorded: nothing to wait for
  if (record->capture != nullptr) {
    if (stream->capture != nullptr && stream->capture != record->capture) {
      return Misuse(cudaErrorInvalidValue, "a capturing stream waits for an event of another capture");
    }
    if (stream->capture == nullptr) stream->tail.clear(), stream->joined = false;
    stream->capture = record->capture;
    for (GraphNode* node : record->nodes) {
      if (std::find(stream->tail.begin(), stream->tail.end(), node) == stream->tail.end())
        stream->tail.push_back(node);
    }
    if (record->stream->tail == record->nodes) record->stream->joined = true;
    return cudaSuccess;
  }
  if (stream->capture != nullptr) {
    return Misuse(cudaErrorInvalidValue,
                  "a capturing stream waits for an event recorded outside of the capture");
  }
  PushWait(stream, record->stream, record->position);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  auto record = event->record;
  if (record == nullptr) return cudaSuccess;
  if (record->capture != nullptr)
    return Misuse(cudaErrorInvalidValue, "query of an event recorded in a capture");
  if (record->stream->done >= record->position) return Sticky();
  RunUntil(record->stream.get(), record->stream->done + 1);
  return record->stream->done >= record->position ? Sticky() : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  auto record = event->record;
  if (record == nullptr) return cudaSuccess;
  if (record->capture != nullptr)
    return Misuse(cudaErrorInvalidValue, "wait for an event recorded in a capture");
  RunUntil(record->stream.get(), record->position);
  return Sticky();
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  if (start->record == nullptr || end->record == nullptr) return Fail(cudaErrorInvalidResourceHandle);
  for (cudaEvent_t e : {start, end}) {
    if (e->record->stream->done < e->record->position) return cudaErrorNotReady;
  }
  *ms = std::chrono::duration<float, std::milli>(end->record->when - start->record->when).count();
  return cudaSuccess;
}

// ---- capture

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream == Get().legacy.get())
    return Misuse(cudaErrorStreamCaptureUnsupported, "capture of the null stream");
  if (stream->capture != nullptr)
    return Misuse(cudaErrorIllegalState, "the stream is being captured already");
  stream->capture = std::make_shared<Capture>();
  stream->capture->graph = std::make_shared<Graph>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->id = ++Get().captures;
  stream->tail.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const cudaError_t injected = Injected(__func__);
  RuntimeLock lock;
  *graph = nullptr;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  auto capture = stream->capture;
  if (capture == nullptr) return Misuse(cudaErrorIllegalState, "the stream is not being captured");
  if (capture->origin != stream)
    return Misuse(cudaErrorStreamCaptureUnmatched, "the capture began in another stream");
  bool joined = true;
  for (auto& s : Get().all) {
    if (s->capture != capture) continue;
    if (s.get() != stream) joined &= s->joined;
    s->capture = nullptr;
    s->tail.clear();
    s->joined = true;
  }
  if (injected != cudaSuccess) return injected;
  if (capture->broken) return Fail(cudaErrorStreamCaptureInvalidated);
  if (!joined)
    return Misuse(cudaErrorStreamCaptureUnjoined,
                  "the capture ends before a stream it forked has been joined");
  *graph = std::make_unique<CUgraph_st>(CUgraph_st{capture->graph}).release();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  if (cudaError_t e = Injected(__func__); e != cudaSuccess) return e;
  RuntimeLock lock;
  Stream* stream = Find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
            : stream->capture->broken  ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
