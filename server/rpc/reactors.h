// The two reactors that every method of ours uses. Only services include this, because it brings gRPC.
//
// A reactor's methods run on gRPC's few threads and must not wait. It may be finished from any thread, also
// before the method that made it has returned; gRPC then calls OnDone, the one place where a reactor deletes
// itself. OnCancel may come at any time between, also after the answer, and only ever asks others to hurry.
#ifndef HYDRAD_SERVER_RPC_REACTORS_H_
#define HYDRAD_SERVER_RPC_REACTORS_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "server/admission/admission.h"
#include "server/base/mutex.h"
#include "server/front/message_queue.h"
#include "server/front/unread_output.h"
#include "server/rpc/call_ref.h"
#include "server/rpc/memory_of.h"
#include "server/rpc/status_map.h"

namespace hydrad {

// Writes what is in its queue, one message at a time, and ends the call when the queue ends. The first
// message takes the initial metadata with it, so that a call that fails before has sent nothing and may be
// retried by its client. Deletes itself when gRPC is done with it.
template <class Message>
class QueueWriter final : public grpc::ServerWriteReactor<Message> {
 public:
  using Queue = MessageQueue<Message>;

  QueueWriter() : queue_(std::make_shared<Queue>([this] { Advance(); })) {}

  const std::shared_ptr<Queue>& queue() { return queue_; }

  // These may be called before the first message.
  // Charge: what is unread is charged to `tenant`, until gRPC has let go of the last byte.
  // set_on_cancel: `on_cancel` is called when the client goes away, does not read or its deadline passes, and
  // must lead to queue()->Close().
  // set_on_done: `on_done` is called last, when nothing of the call is left.
  // set_ticket: the ticket gives its place back when the last message is on its way (Ticket::Deliver).
  void Charge(grpc::CallbackServerContext& context, UnreadOutput& unread, std::string_view tenant) {
    const std::weak_ptr<Queue> queue = queue_;
    account_ = unread.Open(tenant, [queue, call = CallRef(context)](const absl::Status& why) {
      if (const auto alive = queue.lock()) alive->GiveUp(why);
      call.Cancel(why);
    });
    queue_->set_account(account_);
  }
  void set_ticket(Ticket ticket) { ticket_ = std::move(ticket); }
  void set_on_cancel(std::function<void()> on_cancel) { on_cancel_ = std::move(on_cancel); }
  void set_on_done(std::function<void()> on_done) { on_done_ = std::move(on_done); }

  void OnWriteDone(bool ok) override {
    if (!ok) queue_->Abandon();
    if (account_ != nullptr) {
      account_->Remove(std::exchange(sending_, 0));
      account_->SendEnds();
    }
    message_ = Message();  // with its memory: the next one may be long in coming
    Advance();
  }
  void OnCancel() override {
    if (on_cancel_) on_cancel_();
  }
  void OnDone() override {
    if (account_ != nullptr) account_->Remove(sending_);
    if (on_done_) on_done_();
    delete this;
  }

 private:
  void Advance() {
    absl::Status status;
    switch (queue_->Take(&message_, &sending_, &status)) {
      case Queue::Next::kNothing:
        return;
      case Queue::Next::kMessage:
        SendBegins();
        return this->StartWrite(&message_);
      case Queue::Next::kLast:
        ticket_.Deliver();
        SendBegins();
        return this->StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
      case Queue::Next::kEnd:
        ticket_.Deliver();
        SendBegins();
        return this->Finish(ToGrpc(status));
    }
  }

  // gRPC makes a copy in the form of the wire, which is charged too.
  void SendBegins() {
    if (account_ == nullptr) return;
    const size_t wire = sending_ == 0 ? 0 : message_.ByteSizeLong();
    account_->AddSent(wire);
    sending_ += wire;
    account_->SendBegins();
  }

  const std::shared_ptr<Queue> queue_;
  std::shared_ptr<UnreadOutput::Account> account_;
  Ticket ticket_;
  std::function<void()> on_cancel_, on_done_;
  // Owned by the writing thread, of which there is one at a time.
  Message message_;     // being written
  size_t sending_ = 0;  // what it is charged
};

// A unary answer that comes later, from another thread.
class LaterReply final : public grpc::ServerUnaryReactor {
 public:
  // The same as QueueWriter's.
  void Charge(grpc::CallbackServerContext& context, UnreadOutput& unread, std::string_view tenant) {
    account_ = unread.Open(tenant, [call = CallRef(context)](const absl::Status& why) { call.Cancel(why); });
  }
  void set_ticket(Ticket ticket) { ticket_ = std::move(ticket); }
  // `on_cancel` must lead to an Answer.
  void set_on_cancel(std::function<void()> on_cancel) { on_cancel_ = std::move(on_cancel); }
  const std::shared_ptr<UnreadOutput::Account>& account() { return account_; }

  // Ends the call, with `response` or what is wrong. `charged` says that the response, but not gRPC's copy of
  // it, is on the account already. REQUIRES: called once.
  void Answer(const absl::Status& status, const google::protobuf::Message* response = nullptr,
              bool charged = false) {
    ticket_.Deliver();
    if (account_ == nullptr) return Finish(ToGrpc(status));
    account_->SendBegins();
    if (!status.ok() || response == nullptr) return Finish(ToGrpc(status));
    account_->AddSent(response->ByteSizeLong());
    Finish(ToGrpc(charged || account_->Add(v1::MemoryOf(*response)) ? status : account_->TooLarge()));
  }

  void OnCancel() override {
    if (on_cancel_) on_cancel_();
  }
  void OnDone() override { delete this; }

 private:
  std::shared_ptr<UnreadOutput::Account> account_;
  Ticket ticket_;
  std::function<void()> on_cancel_;
};

// An answer that two sides may give, the one that works and the client that goes away. The first one counts.
// Thread-safe.
class FirstReply {
 public:
  explicit FirstReply(LaterReply* reply) : reply_(reply) {}

  // Ends the call with `status` if nobody has answered yet. `fill` is called before; it writes the response
  // and returns it.
  void Finish(const absl::Status& status,
              const std::function<const google::protobuf::Message*()>& fill = nullptr) {
    LaterReply* reply = nullptr;
    const google::protobuf::Message* response = nullptr;
    {
      MutexLock lock(&mu_);
      reply = std::exchange(reply_, nullptr);
      if (reply != nullptr && fill) response = fill();
    }
    if (reply != nullptr) reply->Answer(status, response);
  }

 private:
  Mutex mu_;
  LaterReply* reply_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_REACTORS_H_
