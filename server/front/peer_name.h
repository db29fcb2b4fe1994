// What the audit log and the count of wrong keys call the other end of a connection.
#ifndef HYDRAD_SERVER_FRONT_PEER_NAME_H_
#define HYDRAD_SERVER_FRONT_PEER_NAME_H_

#include <string>

namespace hydrad {

// Returns the peer of a connected socket as gRPC names it: "ipv4:192.0.2.1:4711",
// "ipv6:%5B2001:db8::1%5D:4711", "unix:"; an IPv4 peer that came to an IPv6 socket is one of IPv4. "" where
// there is none.
std::string PeerName(int fd);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_PEER_NAME_H_
