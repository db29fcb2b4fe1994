// Changes the whole set of adapters at once, to what is wanted.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_APPLY_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_APPLY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/adapters/store/adapter_store.h"

namespace hydrad {

struct WantedAdapter {
  std::string name, path;
  std::string digest{};  // "": whatever is there, and what serves from `path` already is left alone
  bool pinned = false;
  bool lenient =
      false;  // loaded so; one that serves and was loaded leniently is loaded again where it is not
};

struct AppliedChange {
  enum class Action : uint8_t { kUnchanged, kCreate, kReplace, kPin, kUnload };
  std::string name;
  Action action = Action::kUnchanged;
};

// What must be done about each name so that what is `present` becomes what is `wanted`; sorted by name. A
// pure function. REQUIRES: no name stands twice in `wanted`.
std::vector<AppliedChange> PlanApply(const std::vector<WantedAdapter>& wanted,
                                     const std::vector<AdapterInfo>& present);

// Applies such sets to a store, one at a time. Thread-safe; nothing waits.
class AdapterApplier {
 public:
  struct Options {
    bool validate_only = false, force = false;
    std::string request_id{};
    // Is told of every load, pin and unload, as it ends; `action` is "load", "pin", "unpin" or "unload". Must
    // not wait.
    std::function<void(const char* action, const WantedAdapter&, const absl::Status&)> on_change{};
  };
  using Done = std::function<void(const absl::StatusOr<std::vector<AppliedChange>>&)>;

  // `store` must outlive what has been begun; this need not.
  explicit AdapterApplier(AdapterStore& store) : store_(store) {}

  // Validates everything that is to be loaded; then loads it, a few at once; then pins; and when all that has
  // worked, unloads, joining unloads that are under way (which `force` makes forced ones). `done` is called
  // once, when all is finished and durable. Errors: INVALID_ARGUMENT (a name stands twice; or adapters cannot
  // be loaded, with the reasons, and nothing has been changed), ABORTED (another Apply is under way, or
  // another change got in the way: what has been done so far stays, and Apply can be asked again).
  void Apply(std::vector<WantedAdapter> wanted, Options options, Done done);

 private:
  AdapterStore& store_;
  const std::shared_ptr<std::atomic<bool>> busy_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_APPLY_H_
