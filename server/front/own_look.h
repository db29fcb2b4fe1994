// Tells the daemon's own looks at its listeners from what others send.
#ifndef HYDRAD_SERVER_FRONT_OWN_LOOK_H_
#define HYDRAD_SERVER_FRONT_OWN_LOOK_H_

#include <string>

#include "server/base/mutex.h"

namespace hydrad {

// One of each listener. Thread-safe.
class OwnLook {
 public:
  // The next connection from this place (PlaceOf), which a socket of the daemon's holds, is its own. "":
  // there is none.
  void Expect(const std::string& place);
  // Whether the daemon itself is at the other end of a connection that has just come. On a Unix socket it
  // knows itself without Expect.
  bool IsOwn(int fd);

 private:
  Mutex mu_;
  std::string expected_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_OWN_LOOK_H_
