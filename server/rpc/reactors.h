// The two reactors that every method of ours uses. Included by services only: it brings gRPC.
//
// A reactor's methods run on gRPC's few threads and must not wait. It may be finished from any thread, also
// before the method that made it has returned; gRPC then calls OnDone, the one place where a reactor deletes
// itself. OnCancel may come at any time between, also after the answer, and only ever asks others to hurry.
#ifndef HYDRAD_SERVER_RPC_REACTORS_H_
#define HYDRAD_SERVER_RPC_REACTORS_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>

#include "server/base/mutex.h"
#include "server/rpc/message_queue.h"
#include "server/rpc/status_map.h"

namespace hydrad {

// Writes what is in its queue, one message at a time, and ends the call when the queue ends. The first
// message takes the initial metadata with it, so that a call that fails before has sent nothing and may be
// retried by its client. Deletes itself when gRPC is done with it.
template <class Message>
class QueueWriter final : public grpc::ServerWriteReactor<Message> {
 public:
  using Queue = MessageQueue<Message>;

  // `on_cancel` is called when the client goes away or its deadline passes, and must lead to
  // queue()->Close(). `on_done` is called last, when nothing of the call is left.
  explicit QueueWriter(QueueBounds bounds, std::function<void()> on_cancel = nullptr,
                       std::function<void()> on_done = nullptr)
      : queue_(std::make_shared<Queue>(bounds, [this] { Advance(); })),
        on_cancel_(std::move(on_cancel)),
        on_done_(std::move(on_done)) {}

  const std::shared_ptr<Queue>& queue() { return queue_; }
  void set_on_cancel(std::function<void()> on_cancel) { on_cancel_ = std::move(on_cancel); }
  void set_on_done(std::function<void()> on_done) { on_done_ = std::move(on_done); }

  void OnWriteDone(bool ok) override {
    if (!ok) queue_->Abandon();
    Advance();
  }
  void OnCancel() override {
    if (on_cancel_) on_cancel_();
  }
  void OnDone() override {
    if (on_done_) on_done_();
    delete this;
  }

 private:
  void Advance() {
    absl::Status status;
    switch (queue_->Take(&message_, &status)) {
      case Queue::Next::kNothing:
        return;
      case Queue::Next::kMessage:
        return this->StartWrite(&message_);
      case Queue::Next::kLast:
        return this->StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
      case Queue::Next::kEnd:
        return this->Finish(ToGrpc(status));
    }
  }

  const std::shared_ptr<Queue> queue_;
  std::function<void()> on_cancel_, on_done_;
  Message message_;  // being written
};

// A unary answer that comes later, from another thread.
class LaterReply final : public grpc::ServerUnaryReactor {
 public:
  // `on_cancel` as above; it must lead to a Finish.
  void set_on_cancel(std::function<void()> on_cancel) { on_cancel_ = std::move(on_cancel); }
  void OnCancel() override {
    if (on_cancel_) on_cancel_();
  }
  void OnDone() override { delete this; }

 private:
  std::function<void()> on_cancel_;
};

// An answer that two sides may give, the one that works and the client that goes away: the first counts.
// Thread-safe.
class FirstReply {
 public:
  explicit FirstReply(grpc::ServerUnaryReactor* reactor) : reactor_(reactor) {}

  // If nobody has answered: calls `fill`, which writes the response message, and ends the call with `status`.
  void Finish(const absl::Status& status, const std::function<void()>& fill = nullptr) {
    grpc::ServerUnaryReactor* reactor = nullptr;
    {
      MutexLock lock(&mu_);
      reactor = std::exchange(reactor_, nullptr);
      if (reactor != nullptr && fill) fill();
    }
    if (reactor != nullptr) reactor->Finish(ToGrpc(status));
  }

 private:
  Mutex mu_;
  grpc::ServerUnaryReactor* reactor_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_REACTORS_H_
