// The names by which clients know their requests.
#ifndef HYDRAD_SERVER_FRONT_REQUEST_NAMES_H_
#define HYDRAD_SERVER_FRONT_REQUEST_NAMES_H_

#include <string>

#include "server/scheduler/request.h"

namespace hydrad {

// Ids count up, so an id tells how many requests others have made. A name is a hash of its id under a key
// that is drawn at start; it tells nothing and cannot be guessed. Thread-safe.
class RequestNames {
 public:
  RequestNames();
  // "req-" and 32 hexadecimal digits.
  std::string Name(RequestId id) const;

 private:
  std::string key_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_REQUEST_NAMES_H_
