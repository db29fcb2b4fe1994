// What an administrator asks for, on plain structs (as generate_call.h). proto/hydrad/v1/admin.proto says
// what each call does and what its fields mean; these have the same ones, unchecked: validate_admin.h checks
// them.
//
// `request_id` makes a call that is repeated with the same id the same call. An `etag` that is not "" must be
// that of the files (a load is FAILED_PRECONDITION where it is not) or of the adapter as it is (an unload is
// ABORTED).
#ifndef HYDRAD_SERVER_FRONT_ADMIN_CALLS_H_
#define HYDRAD_SERVER_FRONT_ADMIN_CALLS_H_

#include <string>
#include <vector>

#include "server/adapters/store/apply.h"  // WantedAdapter

namespace hydrad {

struct LoadCall {
  std::string name, path;
  std::string etag;        // "": whatever the files hold
  std::string request_id;  // "": none
  bool lenient = false;
  bool validate_only = false;
};

struct UnloadCall {
  std::string name, etag{}, request_id{};
  bool force = false;
};

struct PinCall {
  std::string name, request_id{};
  bool pinned = true;  // false: unpin it
};

struct ApplyCall {
  std::vector<WantedAdapter> adapters;
  std::string request_id;
  bool validate_only = false, force = false;
};

struct GetCall {
  std::string name;
};

struct ListCall {
  int page_size = 0;       // 0: the default
  std::string page_token;  // "": the first page
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ADMIN_CALLS_H_
