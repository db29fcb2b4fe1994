// Output that its reader has not taken yet: how much of it there may be, and for how long.
#ifndef HYDRAD_SERVER_FRONT_UNREAD_OUTPUT_H_
#define HYDRAD_SERVER_FRONT_UNREAD_OUTPUT_H_

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace hydrad {

struct UnreadBounds {
  size_t stream_bytes = 16 << 20;  // of one answer
  size_t tenant_bytes = 64 << 20;  // of all answers of one tenant
  Duration stall = std::chrono::seconds(30);
};

// Why an answer is refused more when so many bytes of it wait: RESOURCE_EXHAUSTED (READER_STALLED).
absl::Status TooMuchUnread(size_t stream_bytes);

// The books of a listener. Bytes are counted as they are in memory. An answer is charged for what waits to be
// sent and for what the transport holds of it. Two things end an answer whose reader does not read: the
// transport has held a message of it for `stall`, or its tenant is over the bound and no other answer of that
// tenant is larger. Both call the answer's own function, once. An answer that outgrows its own bound is not
// ended, but refused more.
//
// Thread-safe. Made with std::make_shared; its accounts keep it. `clock` must outlive both.
class UnreadOutput : public std::enable_shared_from_this<UnreadOutput> {
 public:
  class Account;

  UnreadOutput(const UnreadBounds& bounds, const Clock& clock) : bounds_(bounds), clock_(clock) {}

  // The account of one answer. `end` drops what is queued and takes the transport's part back; it is given
  // why. It may come from any thread, also while the account is being destroyed, with no lock of ours held,
  // and must not wait.
  std::shared_ptr<Account> Open(std::string_view tenant, std::function<void(const absl::Status&)> end);

  // Ends the answers that have stalled. Somebody must call this now and then.
  void Sweep();

  size_t bytes() const;
  int64_t ended() const;  // so far

  // Why an answer is refused more.
  absl::Status TooLarge() const { return TooMuchUnread(bounds_.stream_bytes); }

 private:
  struct Tenant {
    size_t bytes = 0;
    std::set<Account*> accounts;
  };
  using Victims = std::vector<std::pair<std::shared_ptr<Account>, absl::Status>>;

  void MakeRoom(Tenant& tenant, const std::string& name, Victims* victims) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(Account& account, const absl::Status& why, Victims* victims) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static void Tell(const Victims& victims);

  const UnreadBounds bounds_;
  const Clock& clock_;
  mutable Mutex mu_;
  std::map<std::string, Tenant, std::less<>> tenants_ ABSL_GUARDED_BY(mu_);  // those with accounts
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t ended_ ABSL_GUARDED_BY(mu_) = 0;
};

// Thread-safe. Destruction gives back what it is charged.
class UnreadOutput::Account : public std::enable_shared_from_this<Account> {
 public:
  // REQUIRES: UnreadOutput::Open makes it.
  Account(std::shared_ptr<UnreadOutput> books, std::string_view tenant,
          std::function<void(const absl::Status&)> end);
  ~Account();
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // Charges for bytes that are to be sent. It returns false, and charges nothing, if they are too many for
  // the answer or it has been ended. The first bytes are never too many for the answer's bound, since a
  // message is sent whole.
  bool Add(size_t bytes);
  // Charges for what the transport takes beside; it never refuses.
  void AddSent(size_t bytes);
  void Remove(size_t bytes);

  // The transport has been given a message; it has let go of it.
  void SendBegins();
  void SendEnds();

  absl::Status TooLarge() const { return books_->TooLarge(); }

 private:
  friend class UnreadOutput;

  const std::shared_ptr<UnreadOutput> books_;
  const std::string tenant_;
  const std::function<void(const absl::Status&)> end_;
  // Guarded by books_->mu_.
  size_t bytes_ = 0;
  std::optional<TimePoint> sending_since_;
  bool ended_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_UNREAD_OUTPUT_H_
