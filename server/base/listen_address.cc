#include "server/base/listen_address.h"

#include <fmt/core.h>

#include <arpa/inet.h>

#include <charconv>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"

namespace hydrad {

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  ListenAddress out{.host = "", .port = 0, .text = std::string(text)};
  if (text.starts_with("unix:")) {
    if (text.size() == 5) return InvalidArgument("listen address '{}' names no path", text);
    return out;
  }
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const std::string_view port = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || out.port < 0 ||
      out.port > 65535 || host.empty() || (!bracketed && host.find(':') != std::string_view::npos)) {
    return InvalidArgument("listen address '{}' is not HOST:PORT, [V6]:PORT or unix:PATH", text);
  }
  out.host = std::string(host);
  return out;
}

bool IsLocal(const ListenAddress& address) {
  if (address.host.empty() || address.host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, address.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status CheckExposure(const ListenAddress& address, bool allow_plaintext_public) {
  if (allow_plaintext_public || IsLocal(address)) return absl::OkStatus();
  return FailedPrecondition(
      "listen address '{}' can be reached from other machines in plain text; pass --tls-cert and --tls-key "
      "(for "
      "gRPC), put a proxy with TLS in front of a loopback address or unix: socket, or pass "
      "--allow-plaintext-public",
      address.text);
}

std::string BoundText(const ListenAddress& address, int port) {
  if (address.host.empty()) return address.text;
  return fmt::format("{}:{}", address.text.substr(0, address.text.rfind(':')), port);
}

}  // namespace hydrad
