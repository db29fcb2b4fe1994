#include "server/scheduler/self_test.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

constexpr int kTokens = 4;

bool Finite(const Sampled& sampled) { return sampled.token >= 0 && std::isfinite(sampled.logprob); }

// A claim on a generation that somebody else keeps on the device.
class HeldClaim final : public AdapterClaim {
 public:
  explicit HeldClaim(std::shared_ptr<const AdapterGeneration> held) : held_(std::move(held)) {}

  const std::string& name() const override { return held_->name; }
  const void* key() const override { return held_.get(); }
  bool ready() const override { return true; }
  bool blocked() const override { return false; }
  bool kept() const override { return false; }
  absl::Status status() const override { return absl::OkStatus(); }
  std::shared_ptr<const AdapterGeneration> Bind() override { return held_; }
  void Unbind() override {}

 private:
  const std::shared_ptr<const AdapterGeneration> held_;
};

}  // namespace

// Looks at the log-probabilities of every position.
class SelfTest::Sink final : public TokenSink {
 public:
  void OnStart(OutputStart start) override {
    MutexLock lock(&mu_);
    finite_ = std::ranges::all_of(start.prompt_logprobs, Finite);
  }
  bool OnPiece(OutputPiece piece) override {
    MutexLock lock(&mu_);
    finite_ = finite_ && std::ranges::all_of(piece.logprobs, Finite);
    return true;
  }
  void OnDone(absl::Status status, const Usage&) override {
    MutexLock lock(&mu_);
    status_ = std::move(status);
    done_ = true;
  }

  absl::Status Wait() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return done_; });
    if (absl::IsDataLoss(status_) || (status_.ok() && !finite_)) {
      return DataLoss("a short forward pass gives logits that are not finite");
    }
    return status_;
  }

 private:
  Mutex mu_;
  bool done_ ABSL_GUARDED_BY(mu_) = false, finite_ ABSL_GUARDED_BY(mu_) = true;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

// Tokens from all over the vocabulary, behind those that an aLoRA begins at.
Request SelfTest::MakeRequest(const AdapterGeneration* generation) const {
  Request request;
  if (generation != nullptr) request.prompt = generation->invocation;
  const int count = std::clamp(max_context_ - 1, 1, kTokens);
  for (int i = 0; i < count; ++i) {
    request.prompt.push_back(static_cast<int32_t>((2 * int64_t{i} + 1) * vocab_size_ / (2 * count)));
  }
  // Whoever asks for an aLoRA of a longer invocation is refused too.
  if (static_cast<int>(request.prompt.size()) >= max_context_) request.prompt.resize(count);
  request.sampling.temperature = 0;
  request.stopping.max_tokens = 1;
  request.output = {.top_logprobs = 0, .prompt_logprobs = 0};
  request.self_test = true;
  return request;
}

absl::Status SelfTest::Base() {
  std::vector<Request> requests;
  requests.push_back(MakeRequest(nullptr));
  return Run(std::move(requests));
}

absl::Status SelfTest::Adapter(const std::shared_ptr<const AdapterGeneration>& generation) {
  std::vector<Request> requests;
  const auto add = [&]() -> Request& {
    Request& request = requests.emplace_back(MakeRequest(generation.get()));
    request.adapter = AdapterHandle(std::make_unique<HeldClaim>(generation));
    request.adapter.Bind();
    return request;
  };
  const AdapterTraits& traits = generation->traits;
  if (const Mixture* mixture = generation->mixture.get()) {
    for (const std::string& expert : mixture->names()) add().expert = expert;
    if (mixture->router().choices() > 0) add().decision = Decision::kVote;  // which no step limits
  } else {
    Request& request = add();
    if (traits.routed && traits.top_k) request.adapter_top_k = traits.experts;
  }
  const absl::Status status = Run(std::move(requests));
  return absl::IsDataLoss(status) ? InvalidArgument("{}", std::string(status.message())) : status;
}

absl::Status SelfTest::Run(std::vector<Request> requests) {
  std::vector<std::shared_ptr<Sink>> sinks;
  absl::Status status;
  {
    MutexLock lock(&mu_);
    for (Request& request : requests) {
      if (status.ok() && scheduler_ == nullptr) status = Unavailable("the server is shutting down");
      if (!status.ok()) break;
      request.id = ++last_id_;
      request.sink = sinks.emplace_back(std::make_shared<Sink>());
      status = scheduler_->Submit(std::move(request));
      if (!status.ok()) sinks.pop_back();
    }
  }
  for (const auto& sink : sinks) {
    const absl::Status done = sink->Wait();
    if (status.ok()) status = done;
  }
  return status;
}

void SelfTest::Close() {
  MutexLock lock(&mu_);
  scheduler_ = nullptr;
}

}  // namespace hydrad
