// Where the daemon listens, and who can reach that.
#ifndef HYDRAD_SERVER_BASE_LISTEN_ADDRESS_H_
#define HYDRAD_SERVER_BASE_LISTEN_ADDRESS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <string_view>

namespace hydrad {

// An address as HOST:PORT, [V6]:PORT or unix:PATH. The system chooses the port where it is 0.
struct ListenAddress {
  std::string host;  // without brackets; "" for a socket in the file system
  int port = 0;
  std::string text;  // as given
};

// Parses an address. INVALID_ARGUMENT, naming the text, for anything else.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// Returns whether only processes of this machine can connect: a Unix socket, 127.0.0.0/8, ::1 or localhost.
bool IsLocal(const ListenAddress& address);

// FAILED_PRECONDITION if the address would serve strangers in plain text and `allow_plaintext_public` does
// not say that this is meant.
absl::Status CheckExposure(const ListenAddress& address, bool allow_plaintext_public);

// Returns the address with the port that was bound.
std::string BoundText(const ListenAddress& address, int port);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_LISTEN_ADDRESS_H_
