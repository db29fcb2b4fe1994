// The requests' side of the store: their claims on names, from Acquire to the end of the handle.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_CLAIMS_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_CLAIMS_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/adapters/handle.h"
#include "server/adapters/store/fetcher.h"
#include "server/adapters/store/store_state.h"

namespace hydrad {

// A claim waits until what serves its name is on the device, then may be bound to that generation, and ends
// when its handle goes. Claims that one request needs at the same time know each other. Thread-safe. Nothing
// here gives memory back: the thread that lets go of a handle has better things to do.
class Claims {
 public:
  // Both must outlive this.
  Claims(StoreState& state, Fetcher& fetcher) : state_(state), fetcher_(fetcher) {}

  // As AdapterStore::AcquireAll. `owner` is what this is a part of: handles keep it alive, so that the last
  // of them may go after the store in a program that breaks the store's contract.
  absl::StatusOr<std::vector<AdapterHandle>> Acquire(const std::vector<std::string>& names,
                                                     std::shared_ptr<void> owner);

 private:
  class Claim;
  using EntryPtr = Catalogue::EntryPtr;

  // AdapterClaim's methods of the same names, and its destructor.
  std::shared_ptr<const AdapterGeneration> Bind(ClaimState& claim);
  void Unbind(ClaimState& claim);
  void Release(ClaimState& claim);

  StoreState& state_;
  Fetcher& fetcher_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_CLAIMS_H_
