#include "server/front/delivery.h"

#include <chrono>
#include <utility>

#include "server/base/thread_name.h"

namespace hydrad {
namespace {

size_t MemoryOf(const std::vector<Sampled>& sampled) {
  size_t bytes = sampled.capacity() * sizeof(Sampled);
  for (const Sampled& one : sampled) bytes += one.top.capacity() * sizeof(TokenLogprob);
  return bytes;
}

}  // namespace

// One request's way. The scheduler's thread and that of the delivery share it.
struct Delivery::Stream {
  std::shared_ptr<TokenSink> sink;  // of the delivery's thread
  std::shared_ptr<TenantBytes> tenant;
  std::atomic<size_t> waiting = 0;    // bytes here
  std::atomic<bool> refused = false;  // the sink has refused a piece
};

class Delivery::StreamSink final : public TokenSink {
 public:
  StreamSink(Delivery& delivery, std::shared_ptr<TokenSink> sink, std::shared_ptr<TenantBytes> tenant)
      : delivery_(delivery) {
    stream_->sink = std::move(sink);
    stream_->tenant = std::move(tenant);
  }

  void OnStart(OutputStart start) override {
    const size_t bytes = sizeof(Event) + MemoryOf(start.prompt_logprobs);
    Put(std::move(start), bytes);
  }

  bool OnPiece(OutputPiece piece) override {
    if (stream_->refused) return false;
    const size_t bytes = sizeof(Event) + piece.text.capacity() + piece.stop.capacity() +
                         piece.tokens.capacity() * sizeof(int32_t) + MemoryOf(piece.logprobs);
    const size_t waiting = stream_->waiting;
    const UnreadBounds& bounds = delivery_.bounds_;
    if (waiting > 0 &&
        (waiting + bytes > bounds.stream_bytes || *stream_->tenant + bytes > bounds.tenant_bytes)) {
      overflowed_ = true;
      return false;
    }
    Put(std::move(piece), bytes);
    return true;
  }

  void OnDone(absl::Status status, const Usage& usage) override {
    if (overflowed_) status = TooMuchUnread(delivery_.bounds_.stream_bytes);
    Put(End{std::move(status), usage}, sizeof(Event));
  }

 private:
  template <class What>
  void Put(What what, size_t bytes) {
    stream_->waiting += bytes;
    *stream_->tenant += bytes;
    delivery_.Put({stream_, std::move(what), bytes});
  }

  Delivery& delivery_;
  const std::shared_ptr<Stream> stream_ = std::make_shared<Stream>();
  bool overflowed_ = false;  // of the thread that calls this
};

Delivery::Delivery(const UnreadBounds& bounds) : bounds_(bounds), thread_([this] { Run(); }) {}

Delivery::~Delivery() {
  StepDone();
  steps_.SendAlways({});
  thread_.join();
}

std::shared_ptr<TokenSink> Delivery::To(std::shared_ptr<TokenSink> sink, const std::string& tenant) {
  return std::make_shared<StreamSink>(*this, std::move(sink), BytesOf(tenant));
}

// The number is the tenant's for as long as it has a stream.
std::shared_ptr<Delivery::TenantBytes> Delivery::BytesOf(const std::string& tenant) {
  MutexLock lock(&tenants_mu_);
  std::weak_ptr<TenantBytes>& known = tenants_[tenant];
  std::shared_ptr<TenantBytes> bytes = known.lock();
  if (bytes != nullptr) return bytes;
  known = bytes = std::make_shared<TenantBytes>(0);
  std::erase_if(tenants_, [](const auto& entry) { return entry.second.expired(); });
  return bytes;
}

void Delivery::Put(Event event) {
  MutexLock lock(&step_mu_);
  step_.push_back(std::move(event));
}

void Delivery::StepDone() {
  std::vector<Event> step;
  {
    MutexLock lock(&step_mu_);
    if (step_.empty()) return;
    step.reserve(step_.size());  // the next one is likely to be as large
    step.swap(step_);
  }
  ++sent_;
  steps_.SendAlways(std::move(step));
}

void Delivery::Flush() {
  StepDone();
  const int64_t until = sent_;
  MutexLock lock(&mu_);
  mu_.Await([this, until]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return handed_over_ >= until; });
}

void Delivery::Run() {
  NameThisThread("delivery");
  while (true) {
    std::vector<std::vector<Event>> steps = steps_.ReceiveAll(std::chrono::hours(1));
    for (std::vector<Event>& step : steps) {
      if (step.empty()) return;
      for (Event& event : step) HandOver(std::move(event));
      MutexLock lock(&mu_);
      ++handed_over_;
    }
  }
}

void Delivery::HandOver(Event event) {
  Stream& stream = *event.stream;
  stream.waiting -= event.bytes;
  *stream.tenant -= event.bytes;
  if (auto* start = std::get_if<OutputStart>(&event.what)) {
    stream.sink->OnStart(std::move(*start));
  } else if (auto* piece = std::get_if<OutputPiece>(&event.what)) {
    if (!stream.refused && !stream.sink->OnPiece(std::move(*piece))) stream.refused = true;
  } else {
    auto& end = std::get<End>(event.what);
    std::exchange(stream.sink, nullptr)->OnDone(std::move(end.status), end.usage);
  }
}

}  // namespace hydrad
