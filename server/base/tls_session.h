// TLS on sockets that nobody waits for: what a listener says and hears in secret.
#ifndef HYDRAD_SERVER_BASE_TLS_SESSION_H_
#define HYDRAD_SERVER_BASE_TLS_SESSION_H_

#include <absl/status/status.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "server/base/certificates.h"

struct ssl_ctx_st;  // OpenSSL's
struct ssl_st;

namespace hydrad {

// What became of an attempt to move bytes.
struct Moved {
  enum class Then {
    kDone,        // `bytes` have moved, at least one
    kWantsRead,   // nothing moved: try again when the socket can be read,
    kWantsWrite,  // or written
    kEnd,         // the peer has ended, or says what is no TLS: nothing moves any more
  };
  Then then = Then::kEnd;
  size_t bytes = 0;
};

// The server's side of one connection, in TLS 1.2 or later; the first Read shakes hands. Who offers protocols
// by ALPN must offer http/1.1. Not thread-safe.
class TlsSession {
 public:
  // A whole record of TLS fits into so many bytes.
  static constexpr size_t kRecordBytes = 16 << 10;

  // Whether a client that speaks TLS may begin with this byte.
  static bool IsHello(char first);

  // Nothing stays behind in the session, so that the socket tells when there is more. REQUIRES: `into` has
  // room for kRecordBytes.
  Moved Read(std::span<char> into);
  // After kWantsWrite the next call must begin with the same bytes. REQUIRES: `bytes` is not empty.
  Moved Write(std::string_view bytes);
  // Says that nothing more is sent, if there is room for that now.
  void End();
  // Whether the handshake is over.
  bool established() const;

 private:
  friend class TlsDoor;
  struct Free {
    void operator()(ssl_st* session) const;
  };
  explicit TlsSession(ssl_st* session) : session_(session) {}
  Moved After(int result);

  std::unique_ptr<ssl_st, Free> session_;
};

// Makes the sessions of a listener, each with the certificates of that moment. Not thread-safe.
class TlsDoor {
 public:
  // `certificates` must outlive this, but not the sessions.
  explicit TlsDoor(const CertificateHolder& certificates) : certificates_(certificates) {}

  // `fd`, a socket that does not block, is the caller's and must stay open as long as the session moves
  // bytes.
  std::unique_ptr<TlsSession> Open(int fd);

 private:
  const CertificateHolder& certificates_;
  std::shared_ptr<const Certificates> given_;  // what context_ was made of
  std::shared_ptr<ssl_ctx_st> context_;
};

// Whether sessions can be made with these: OpenSSL refuses weak keys and signatures. INVALID_ARGUMENT says
// why not.
absl::Status CheckUsable(const Certificates& certificates);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_TLS_SESSION_H_
