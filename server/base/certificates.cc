#include "server/base/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <utility>

#include "server/base/check.h"
#include "server/base/file.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/base/tls_session.h"

namespace hydrad {
namespace {

constexpr uint64_t kMaxPemFile = 4 << 20;  // the roots of a distribution are a quarter of a megabyte

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio Open(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free};
}

// Instead of the library's own question on the terminal.
int NoPassPhrase(char*, int, int, void*) { return 0; }

X509Ptr NextCertificate(BIO* pem) {
  return {PEM_read_bio_X509(pem, nullptr, NoPassPhrase, nullptr), X509_free};
}

std::string TimeText(const ASN1_TIME* time) {
  const Bio text(BIO_new(BIO_s_mem()), BIO_free);
  ASN1_TIME_print(text.get(), time);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<size_t>(size)};
}

absl::StatusOr<std::string> Read(const char* option, const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxPemFile);
  if (!text.ok()) return Annotate(text.status(), option);
  return text;
}

// Every certificate of the text, at least one; the first is returned. A broken one after good ones is an
// error too.
absl::StatusOr<X509Ptr> FirstCertificate(const char* option, const std::string& path,
                                         const std::string& pem) {
  const Bio in = Open(pem);
  ERR_clear_error();
  X509Ptr first = NextCertificate(in.get());
  for (bool more = first != nullptr; more;) more = NextCertificate(in.get()) != nullptr;
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (first == nullptr || ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
    return InvalidArgument("{}: '{}' holds no certificates in PEM", option, path);
  return first;
}

absl::Status CheckKey(const TlsFiles& files, const std::string& pem, X509* certificate) {
  const Bio in = Open(pem);
  const Key key(PEM_read_bio_PrivateKey(in.get(), nullptr, NoPassPhrase, nullptr), EVP_PKEY_free);
  const bool matches = key != nullptr && X509_check_private_key(certificate, key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr)
    return InvalidArgument("--tls-key: '{}' holds no private key in PEM, or one with a pass phrase",
                           files.key);
  if (!matches) {
    return InvalidArgument("--tls-key: '{}' is not the key of the certificate in '{}'", files.key,
                           files.certificate);
  }
  return absl::OkStatus();
}

absl::Status CheckTime(const std::string& path, const X509* certificate) {
  const ASN1_TIME* begin = X509_get0_notBefore(certificate);
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(begin) > 0)
    return FailedPrecondition("--tls-cert: the certificate in '{}' is valid from {} on", path,
                              TimeText(begin));
  if (X509_cmp_current_time(end) < 0)
    return FailedPrecondition("--tls-cert: the certificate in '{}' has expired on {}", path, TimeText(end));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Certificates> ReadCertificates(const TlsFiles& files) {
  Certificates out;
  ASSIGN_OR_RETURN(out.chain, Read("--tls-cert", files.certificate));
  ASSIGN_OR_RETURN(const X509Ptr own, FirstCertificate("--tls-cert", files.certificate, out.chain));
  RETURN_IF_ERROR(CheckTime(files.certificate, own.get()));
  out.until = TimeText(X509_get0_notAfter(own.get()));
  ASSIGN_OR_RETURN(out.key, Read("--tls-key", files.key));
  RETURN_IF_ERROR(CheckKey(files, out.key, own.get()));
  if (!files.client_ca.empty()) {
    ASSIGN_OR_RETURN(out.client_ca, Read("--tls-client-ca", files.client_ca));
    RETURN_IF_ERROR(FirstCertificate("--tls-client-ca", files.client_ca, out.client_ca).status());
  }
  RETURN_IF_ERROR(CheckUsable(out));
  return out;
}

CertificateHolder::CertificateHolder(Certificates first)
    : asks_clients_(!first.client_ca.empty()),
      current_(std::make_shared<const Certificates>(std::move(first))) {}

std::shared_ptr<const Certificates> CertificateHolder::current() const {
  MutexLock lock(&mu_);
  return current_;
}

void CertificateHolder::Replace(Certificates next) {
  HYDRAD_CHECK(next.client_ca.empty() != asks_clients_);
  auto replaced = std::make_shared<const Certificates>(std::move(next));
  MutexLock lock(&mu_);
  current_.swap(replaced);
}

}  // namespace hydrad
