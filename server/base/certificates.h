// What a listener with TLS shows and asks for: certificates as files name them, checked before they are used
// and replaced while connections come.
#ifndef HYDRAD_SERVER_BASE_CERTIFICATES_H_
#define HYDRAD_SERVER_BASE_CERTIFICATES_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "server/base/mutex.h"

namespace hydrad {

// Paths of PEM files.
struct TlsFiles {
  std::string certificate;  // the daemon's own, and those between it and a root; "": there is no TLS
  std::string key;          // of that certificate, without a pass phrase
  std::string client_ca;  // whoever shows no certificate that these vouch for is not served; "": nobody need
};

// The texts of the files, in PEM.
struct Certificates {
  std::string chain;
  std::string key;
  std::string client_ca;  // "": clients are not asked
  std::string until;      // when the first of the chain ends, for people
};

// Reads the files. Errors name the option and the file: it cannot be read or holds no such thing, the
// certificate is not valid yet or any more, the key is another's or too weak. REQUIRES: files.certificate is
// not empty.
absl::StatusOr<Certificates> ReadCertificates(const TlsFiles& files);

// The certificates of now, for all listeners. A handshake uses those that were there when it began, and an
// open connection keeps them. Thread-safe.
class CertificateHolder {
 public:
  explicit CertificateHolder(Certificates first);

  // Another pointer after each Replace.
  std::shared_ptr<const Certificates> current() const;
  // Whether clients are asked stays as it was at first. REQUIRES: client_ca is empty if and only if it was
  // then.
  void Replace(Certificates next);

  // Whether clients must show a certificate.
  bool asks_clients() const { return asks_clients_; }

 private:
  const bool asks_clients_;
  mutable Mutex mu_;
  std::shared_ptr<const Certificates> current_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_CERTIFICATES_H_
