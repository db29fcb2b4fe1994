#include "server/front/connection_book.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <utility>

namespace hydrad {

ConnectionBook::ConnectionBook(ConnectionLimits limits, std::function<uint64_t(int)> identity,
                               const Clock& clock)
    : limits_(limits), identity_(std::move(identity)), clock_(clock) {}

ConnectionBook::Verdict ConnectionBook::Judge(const std::string& peer) const {
  if (open_ >= limits_.total) return Verdict::kTotalReached;
  const auto found = of_peer_.find(peer);
  const bool full = found != of_peer_.end() && found->second >= limits_.per_peer;
  return full ? Verdict::kPeerReached : Verdict::kWelcome;
}

ConnectionBook::Verdict ConnectionBook::MayCome(const std::string& peer) {
  const Verdict verdict = Judge(peer);
  const TimePoint begin = clock_.Now();
  if (verdict == Verdict::kWelcome || begin < next_look_) return verdict;
  Sweep();
  const TimePoint end = clock_.Now();
  next_look_ = end + 4 * (end - begin);
  return Judge(peer);
}

void ConnectionBook::Add(int fd, const std::string& peer, bool counted) {
  Remove(fd);  // whoever had the number is gone
  entries_.emplace(fd, Entry{identity_(fd), peer, counted});
  if (!counted) return;
  ++open_;
  ++of_peer_[peer];
}

void ConnectionBook::Remove(int fd) {
  const auto found = entries_.find(fd);
  if (found == entries_.end()) return;
  Uncount(found->second);
  entries_.erase(found);
}

void ConnectionBook::Sweep() {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (identity_(entry->first) == entry->second.identity) {
      ++entry;
      continue;
    }
    Uncount(entry->second);
    entry = entries_.erase(entry);
  }
}

void ConnectionBook::Uncount(const Entry& entry) {
  if (!entry.counted) return;
  --open_;
  const auto peer = of_peer_.find(entry.peer);
  if (--peer->second == 0) of_peer_.erase(peer);
}

uint64_t SocketIdentity(int fd) {
  struct stat file {};
  return fstat(fd, &file) == 0 && S_ISSOCK(file.st_mode) ? file.st_ino : 0;
}

std::string PeerOf(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "";
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer).sin_addr;
    return "4" + std::string(reinterpret_cast<const char*>(&v4), 4);
  }
  if (peer.ss_family == AF_INET6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr;
    const auto* bytes = reinterpret_cast<const char*>(&v6);
    return IN6_IS_ADDR_V4MAPPED(&v6) ? "4" + std::string(bytes + 12, 4) : "6" + std::string(bytes, 8);
  }
  ucred user{};
  socklen_t user_size = sizeof user;
  getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &user_size);
  return "u" + std::to_string(user.uid);
}

std::string PlaceOf(const sockaddr_storage& address) {
  const auto bytes = [](const auto& field) {
    return std::string(reinterpret_cast<const char*>(&field), sizeof field);
  };
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return "4" + bytes(v4.sin_addr) + bytes(v4.sin_port);
  }
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    return "6" + bytes(v6.sin6_addr) + bytes(v6.sin6_port);
  }
  return "";
}

}  // namespace hydrad
