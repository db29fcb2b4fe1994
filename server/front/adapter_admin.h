// What administrators may do to the set of adapters, and what they are told.
#ifndef HYDRAD_SERVER_FRONT_ADAPTER_ADMIN_H_
#define HYDRAD_SERVER_FRONT_ADAPTER_ADMIN_H_

#include <functional>
#include <string>
#include <vector>

#include "server/adapters/store/apply.h"
#include "server/front/adapter_page.h"
#include "server/front/admin_calls.h"
#include "server/front/intake.h"

namespace hydrad {

template <class Value>
using AdminDone = std::function<void(const absl::StatusOr<Value>&)>;

// Every change is validated first (INVALID_FIELD), and every one that was begun is written to the audit log
// when it ends, whether or not somebody still waits for it. While the server drains nothing new is loaded
// (DRAINING). Errors of the store carry a reason for clients: ADAPTER_NOT_FOUND, ADAPTER_INVALID, NO_ROOM,
// ADAPTER_NOT_READY, ADAPTER_BUSY, or the code's name.
//
// A copy is the same administration at another door: of all copies' calls of Apply one runs at a time.
// Thread-safe; nothing waits for a disk or a request to end. What is begun needs this no more, but the rooms
// of the intake, which must outlive the adapter store.
class AdapterAdmin {
 public:
  // `admins` tells who may call: its tenants are the administrators (open: everybody who reaches the
  // listener). Both must outlive this.
  AdapterAdmin(Intake& intake, const Admission& admins)
      : intake_(intake), rooms_(intake.rooms()), admins_(admins), applier_(intake.rooms().adapters) {}

  // OK for administrators; refusals are recorded. To be asked before anybody looks at the message.
  absl::Status Enter(const Caller& caller) const;

  // `done` is called once, from any thread, perhaps before the method returns. `peer` is the caller's.
  using Done = AdminDone<AdapterInfo>;
  void Load(const LoadCall& call, const std::string& peer, const Done& done);
  void Unload(const UnloadCall& call, const std::string& peer, const Done& done);
  void Pin(const PinCall& call, const std::string& peer, const Done& done);
  using ApplyDone = AdminDone<std::vector<AppliedChange>>;
  void Apply(const ApplyCall& call, const std::string& peer, const ApplyDone& done);

  absl::StatusOr<AdapterInfo> Get(const GetCall& call) const;
  absl::StatusOr<AdapterPage> List(const ListCall& call) const;

 private:
  absl::Status MayLoad() const;

  Intake& intake_;
  const Rooms& rooms_;
  const Admission& admins_;
  AdapterApplier applier_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ADAPTER_ADMIN_H_
