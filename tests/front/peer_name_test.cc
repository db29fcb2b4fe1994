#include "server/front/peer_name.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "server/base/file_descriptor.h"

namespace hydrad {
namespace {

// The two ends of a connection over the loopback; none where the machine has no such address.
struct Ends {
  FileDescriptor accepted, connected;
  int port = 0;  // of the connected one
};

sockaddr_storage Address(int family, const char* host, in_port_t port) {
  sockaddr_storage address{};
  address.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_port = port;
    EXPECT_EQ(inet_pton(AF_INET, host, &v4.sin_addr), 1);
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_port = port;
    EXPECT_EQ(inet_pton(AF_INET6, host, &v6.sin6_addr), 1);
  }
  return address;
}

in_port_t PortOf(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size), 0);
  return name.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(name).sin_port
                                   : reinterpret_cast<sockaddr_in6&>(name).sin6_port;
}

// A listener of `family` at `listening`, and a client of `client_family` that calls it at `connecting`.
Ends Connect(int family, const char* listening, int client_family, const char* connecting) {
  FileDescriptor listener(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage at = Address(family, listening, 0);
  const int both = 0;  // IPv4 comes to an IPv6 socket, too
  if (family == AF_INET6) setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return {};
  EXPECT_EQ(listen(listener.get(), 1), 0);
  at = Address(client_family, connecting, PortOf(listener.get()));
  Ends ends;
  ends.connected = FileDescriptor(socket(client_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(ends.connected.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ends.accepted = FileDescriptor(accept(listener.get(), nullptr, nullptr));
  ends.port = ntohs(PortOf(ends.connected.get()));
  return ends;
}

TEST(PeerNameTest, OfIpv4) {
  const Ends ends = Connect(AF_INET, "127.0.0.1", AF_INET, "127.0.0.1");
  EXPECT_EQ(PeerName(ends.accepted.get()), "ipv4:127.0.0.1:" + std::to_string(ends.port));
}

TEST(PeerNameTest, OfIpv4AtASocketOfIpv6) {
  const Ends ends = Connect(AF_INET6, "::", AF_INET, "127.0.0.1");
  if (ends.port == 0) return;  // a machine without IPv6
  EXPECT_EQ(PeerName(ends.accepted.get()), "ipv4:127.0.0.1:" + std::to_string(ends.port));
}

TEST(PeerNameTest, OfIpv6) {
  const Ends ends = Connect(AF_INET6, "::1", AF_INET6, "::1");
  if (ends.port == 0) return;  // likewise
  EXPECT_EQ(PeerName(ends.accepted.get()), "ipv6:%5B::1%5D:" + std::to_string(ends.port));
}

TEST(PeerNameTest, OfASocketOfTheMachineAndOfNone) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const FileDescriptor one(pair[0]), two(pair[1]);
  EXPECT_EQ(PeerName(one.get()), "unix:");
  const FileDescriptor alone(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(PeerName(alone.get()), "") << "it is not connected";
  EXPECT_EQ(PeerName(-1), "");
}

}  // namespace
}  // namespace hydrad
