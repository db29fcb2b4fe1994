#include "server/rpc/adapter_feed.h"

#include <chrono>

#include "server/rpc/to_proto.h"

namespace hydrad {

void AdapterFeed::Event(const AdapterEvent& event) {
  MutexLock lock(&mu_);
  if (begun_) {
    Push(event.info);
  } else {
    early_.push_back(event.info);
  }
}

void AdapterFeed::Begin(const std::vector<AdapterInfo>& snapshot) {
  MutexLock lock(&mu_);
  for (const AdapterInfo& info : snapshot) Push(info);
  for (const AdapterInfo& info : std::exchange(early_, {})) Push(info);
  begun_ = true;
}

void AdapterFeed::Push(const AdapterInfo& info) {
  v1::AdapterEvent event;
  *event.mutable_adapter() = ToProto(info);
  *event.mutable_time() = ToProto(std::chrono::system_clock::now());
  // A watcher that has fallen behind is told so, and watches again.
  if (!queue_->Push(std::move(event))) queue_->Close(absl::OkStatus());
}

}  // namespace hydrad
