// Tells one watcher of adapters how things stand, then each change.
#ifndef HYDRAD_SERVER_RPC_ADAPTER_FEED_H_
#define HYDRAD_SERVER_RPC_ADAPTER_FEED_H_

#include <memory>
#include <utility>
#include <vector>

#include "hydrad/v1/admin.pb.h"
#include "server/adapters/store/adapter_store.h"
#include "server/base/mutex.h"
#include "server/front/message_queue.h"
#include "server/rpc/memory_of.h"

namespace hydrad {

// Joins a snapshot and the events around it without a gap: subscribe first, then take the snapshot, then call
// Begin. Events that come in between follow the snapshot, so a change may be told twice, but the last event
// of a name always tells how it stands. Thread-safe; nothing here waits.
class AdapterFeed {
 public:
  explicit AdapterFeed(std::shared_ptr<MessageQueue<v1::AdapterEvent>> queue) : queue_(std::move(queue)) {}

  // Takes a change. The store calls this under its event lock.
  void Event(const AdapterEvent& event);
  // Takes the snapshot. Call it once.
  void Begin(const std::vector<AdapterInfo>& snapshot);

 private:
  void Push(const AdapterInfo& info);

  const std::shared_ptr<MessageQueue<v1::AdapterEvent>> queue_;
  Mutex mu_;
  bool begun_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<AdapterInfo> early_ ABSL_GUARDED_BY(mu_);  // events before Begin
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ADAPTER_FEED_H_
