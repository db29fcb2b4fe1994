// From the scheduler's thread to those who write answers: the second of the two thread boundaries that a
// request crosses.
#ifndef HYDRAD_SERVER_FRONT_DELIVERY_H_
#define HYDRAD_SERVER_FRONT_DELIVERY_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "server/base/inbox.h"
#include "server/base/mutex.h"
#include "server/front/unread_output.h"  // UnreadBounds
#include "server/scheduler/token_sink.h"

namespace hydrad {

// One thread that hands what the scheduler's steps gave to the sinks of the front ends, which make messages
// of it and send them: the scheduler's thread only appends to a list, and wakes this one once a step. A sink
// hears of its own request in order, everything on this thread; it must not wait.
//
// What waits here for one stream, and for all streams of one tenant, is bounded in bytes. Beyond that, and
// when the stream's own sink has refused a piece, the scheduler is told so at its next piece, as TokenSink
// says. A sink that refused a piece hears of no other, only of the end.
//
// Thread-safe. Outlives the scheduler and the front ends.
class Delivery {
 public:
  // `bounds` says how many bytes may wait here. One piece of a stream may, whatever it takes.
  explicit Delivery(const UnreadBounds& bounds);
  // Hands over what is queued.
  ~Delivery();
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  // What the scheduler is given for a request of `tenant` whose output `sink` takes. It holds `sink` until
  // that has heard of the end, which happens to it on the thread of the delivery.
  std::shared_ptr<TokenSink> To(std::shared_ptr<TokenSink> sink, const std::string& tenant);

  // A step has given out all its tokens. Wakes the thread, if there is anything for it.
  void StepDone();

  // Returns when all that was given out before has been handed over. Not on the thread of the delivery.
  void Flush();

 private:
  struct Stream;
  class StreamSink;
  struct End {
    absl::Status status;
    Usage usage;
  };
  struct Event {
    std::shared_ptr<Stream> stream;
    std::variant<OutputStart, OutputPiece, End> what;
    size_t bytes;
  };

  void Put(Event event);
  void Run();
  static void HandOver(Event event);

  // Bytes that wait for the streams of one tenant.
  using TenantBytes = std::atomic<size_t>;
  std::shared_ptr<TenantBytes> BytesOf(const std::string& tenant);

  const UnreadBounds bounds_;
  Mutex tenants_mu_;
  std::map<std::string, std::weak_ptr<TenantBytes>> tenants_ ABSL_GUARDED_BY(tenants_mu_);
  Mutex step_mu_;  // apart, so that nobody who waits is looked after at each token
  std::vector<Event> step_ ABSL_GUARDED_BY(step_mu_);
  Inbox<std::vector<Event>> steps_{SIZE_MAX};  // bounded by the bytes; an empty one is the end
  std::atomic<int64_t> sent_ = 0;              // steps
  Mutex mu_;
  int64_t handed_over_ ABSL_GUARDED_BY(mu_) = 0;  // steps
  std::thread thread_;                            // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_DELIVERY_H_
