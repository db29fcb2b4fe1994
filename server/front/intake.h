// The way in: a straight line from a call to the scheduler's inbox, for every front end.
//
//   who calls -> may he (door.h)   before anybody looks at the message: Enter
//   valid -> permitted -> adapters held -> text read (make_request.h) -> the scheduler: Start
//
// Each stage gives the next its value or a Refusal (refusal.h), which is recorded here and nowhere else: it
// is counted, and written to the audit log where somebody was turned away.
#ifndef HYDRAD_SERVER_FRONT_INTAKE_H_
#define HYDRAD_SERVER_FRONT_INTAKE_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "server/front/activity.h"
#include "server/front/caller.h"
#include "server/front/make_request.h"
#include "server/front/request_names.h"
#include "server/front/rooms.h"
#include "server/front/text_pool.h"

namespace hydrad {

// Thread-safe; nothing here waits.
class Intake {
 public:
  explicit Intake(const Rooms& rooms);

  // Returns the right to run one request, if the caller is known and may.
  absl::StatusOr<Ticket> Enter(const Caller& caller);
  // Lets in a call that needs no scheduler, and returns the tenant, against whose rate it counts.
  absl::StatusOr<std::string> EnterCall(const Caller& caller);
  // Lets in a call of somebody who asks again and again how things stand, and returns the tenant. It counts
  // against no rate.
  absl::StatusOr<std::string> EnterGlance(const Caller& caller);

  // Makes what the output of a request goes to, once it is known what the answer says beside it. The delivery
  // calls the sink.
  using MakeSink = std::function<std::shared_ptr<TokenSink>(AnswerHead)>;
  // Makes a request of what the call says and hands it to the scheduler. After an OK the sink is told of its
  // end; `call.cancel` ends it. Takes long for a long text.
  absl::Status Start(const EnteredCall& call, GenerateCall message, const MakeSink& make_sink);

  // Does `work` on a message of so many bytes: here if it is short, else on `texts`, where `long_work`
  // (whatever the size, it may take long) goes too. `work` is told OK, or why there is no point in it: the
  // call or its time has ended before its turn came, or nobody has time for it (TEXT_QUEUE_FULL).
  void Work(TextPool& texts, const EnteredCall& call, size_t bytes, std::function<void(absl::Status)> work,
            bool long_work = false);
  // Messages up to this size are dealt with by the thread that brings them: the worst take less than a
  // millisecond.
  static constexpr size_t kShortMessage = 2048;

  // Records that a message which Start does not see is not what it should be, and returns `status`.
  absl::Status Invalid(absl::Status status, const Caller& caller);

  // From now on every request is refused with UNAVAILABLE.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

  const Rooms& rooms() const { return rooms_; }
  // What the requests that were started here are doing.
  const Activity& activity() const { return activity_; }

 private:
  absl::Status Recorded(Refusal refusal, const Caller& caller) {
    return Record(std::move(refusal), caller.peer, rooms_.metrics, rooms_.audit);
  }
  template <class T>
  absl::StatusOr<T> Recorded(OrRefusal<T> stage, const Caller& caller) {
    if (!stage.ok()) return Recorded(std::move(stage.refusal()), caller);
    return std::move(*stage);
  }
  OrRefusal<Ticket> LetIn(const Caller& caller);

  const Rooms rooms_;
  std::atomic<bool> closed_ = false;
  const RequestNames names_;
  Activity activity_;
  std::atomic<RequestId> next_id_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_INTAKE_H_
