// Calls whose messages are JSON, for a front end that does not know how to write them.
#ifndef HYDRAD_SERVER_FRONT_JSON_CALLS_H_
#define HYDRAD_SERVER_FRONT_JSON_CALLS_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "server/front/adapter_admin.h"  // AdminDone

namespace hydrad {

// Takes a message ("": one without fields) of `peer`, who has been let in, and gives the answer. `done` is
// called once, from any thread, perhaps before this returns. Thread-safe; nothing waits.
using JsonCall =
    std::function<void(std::string_view body, const std::string& peer, const AdminDone<std::string>& done)>;
using JsonCalls = std::map<std::string, JsonCall, std::less<>>;  // by the method's name

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_JSON_CALLS_H_
