#include "server/front/peer_name.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

namespace hydrad {

std::string PeerName(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "";
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    inet_ntop(AF_INET, &v4.sin_addr, host.data(), host.size());
    return fmt::format("ipv4:{}:{}", host.data(), ntohs(v4.sin_port));
  }
  if (peer.ss_family != AF_INET6) return "unix:";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
  const auto* bytes = reinterpret_cast<const char*>(&v6.sin6_addr);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, bytes + 12, host.data(), host.size());
    return fmt::format("ipv4:{}:{}", host.data(), ntohs(v6.sin6_port));
  }
  inet_ntop(AF_INET6, bytes, host.data(), host.size());
  return fmt::format("ipv6:%5B{}%5D:{}", host.data(), ntohs(v6.sin6_port));
}

}  // namespace hydrad
