// Where the daemon listens, and who can reach that.
#ifndef HYDRAD_SERVER_BASE_LISTEN_ADDRESS_H_
#define HYDRAD_SERVER_BASE_LISTEN_ADDRESS_H_

#include <string>
#include <string_view>

#include "server/base/status.h"

namespace hydrad {

// HOST:PORT, [V6]:PORT or unix:PATH. Port 0: the system chooses.
struct ListenAddress {
  std::string host;  // without brackets; "" for a socket in the file system
  int port = 0;
  std::string text;  // as given
};

// INVALID_ARGUMENT, naming the text, for anything else.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// Whether only processes of this machine can connect: a Unix socket, 127.0.0.0/8, ::1 or localhost.
bool IsLocal(const ListenAddress& address);

// FAILED_PRECONDITION if plain text would be served to strangers and nobody said that this is meant.
absl::Status CheckExposure(const ListenAddress& address, bool allow_plaintext_public);

// The address with the port that was bound.
std::string BoundText(const ListenAddress& address, int port);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_LISTEN_ADDRESS_H_
