// Who sends wrong keys, and how often.
#ifndef HYDRAD_SERVER_ADMISSION_WRONG_KEYS_H_
#define HYDRAD_SERVER_ADMISSION_WRONG_KEYS_H_

#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "server/admission/token_bucket.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

// A bucket of mistakes for each address. Thread-safe; its memory is bounded: beyond kMostAddresses the one
// that was heard of least recently is forgotten.
class WrongKeys {
 public:
  static constexpr int kBurst = 50;
  static constexpr double kPerSecond = 1;
  static constexpr size_t kMostAddresses = 4096;

  // `clock` must outlive this.
  explicit WrongKeys(const Clock& clock) : clock_(clock) {}

  // Counts a wrong key from `peer` (PeerAddress). Returns zero, or how long the peer should have waited.
  Duration Count(std::string_view peer);
  size_t addresses() const;

 private:
  struct Entry {
    std::string address;
    TokenBucket bucket{kPerSecond, kBurst};
  };

  const Clock& clock_;
  mutable Mutex mu_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the latest first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_address_ ABSL_GUARDED_BY(mu_);
};

// What stays the same over the connections of one peer, which gRPC names "ipv4:192.0.2.1:4711",
// "ipv6:%5B2001:db8::1%5D:4711" or "unix:...": the address without the port, and of an IPv6 address the /64,
// which one subscriber has to itself. Anything else stands for itself.
std::string PeerAddress(std::string_view peer);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADMISSION_WRONG_KEYS_H_
