#include "server/front/own_look.h"

#include <sys/socket.h>
#include <unistd.h>

#include "server/front/connection_book.h"  // PlaceOf

namespace hydrad {

void OwnLook::Expect(const std::string& place) {
  MutexLock lock(&mu_);
  expected_ = place;
}

bool OwnLook::IsOwn(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return false;
  if (const std::string place = PlaceOf(peer); !place.empty()) {
    MutexLock lock(&mu_);
    if (place != expected_) return false;
    expected_.clear();  // whoever has the place later is a stranger
    return true;
  }
  ucred user{};
  size = sizeof user;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size) == 0 && user.pid == getpid();
}

}  // namespace hydrad
