#include "tests/fakes/made_certificate.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <memory>

#include "server/base/check.h"

namespace hydrad {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio Empty() { return {BIO_new(BIO_s_mem()), BIO_free}; }

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

Key ReadKey(const std::string& pem) {
  const Bio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return {PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr), EVP_PKEY_free};
}

X509Ptr ReadCertificate(const std::string& pem) {
  const Bio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return {PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), X509_free};
}

void Extend(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  HYDRAD_CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Its own issuer without one.
MadeCertificate Make(const MadeCertificate* issuer, long since, long until) {
  const Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const X509Ptr out(X509_new(), X509_free);
  uint32_t number = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof number);
  X509_set_version(out.get(), X509_VERSION_3);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(out.get()), number);
  X509_gmtime_adj(X509_getm_notBefore(out.get()), -since);
  X509_gmtime_adj(X509_getm_notAfter(out.get()), until);
  X509_set_pubkey(out.get(), key.get());
  const std::string name = "test " + std::to_string(number);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(out.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  const X509Ptr above =
      issuer == nullptr ? X509Ptr(nullptr, X509_free) : ReadCertificate(issuer->certificate);
  X509_set_issuer_name(out.get(), X509_get_subject_name(above == nullptr ? out.get() : above.get()));
  Extend(out.get(), NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
  if (issuer == nullptr) Extend(out.get(), NID_basic_constraints, "critical,CA:TRUE");
  const Key signer = issuer == nullptr ? Key(nullptr, EVP_PKEY_free) : ReadKey(issuer->key);
  HYDRAD_CHECK(X509_sign(out.get(), signer == nullptr ? key.get() : signer.get(), EVP_sha256()) > 0);
  const Bio certificate = Empty(), secret = Empty();
  PEM_write_bio_X509(certificate.get(), out.get());
  PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {Text(certificate.get()), Text(secret.get())};
}

}  // namespace

MadeCertificate MakeAuthority() { return Make(nullptr, 60, 3600); }

MadeCertificate MakeCertificate(const MadeCertificate& issuer, long since, long until) {
  return Make(&issuer, since, until);
}

std::string Locked(const std::string& key) {
  const Bio out = Empty();
  char phrase[] = "phrase";
  PEM_write_bio_PKCS8PrivateKey(out.get(), ReadKey(key).get(), EVP_aes_128_cbc(), phrase, 6, nullptr,
                                nullptr);
  return Text(out.get());
}

}  // namespace hydrad
