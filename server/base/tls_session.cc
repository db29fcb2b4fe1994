#include "server/base/tls_session.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <absl/status/statusor.h>

#include <cerrno>
#include <string>
#include <utility>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr std::string_view kProtocol = "http/1.1";
constexpr long kMostOfClientChain = 32 << 10;  // bytes of the certificates that a client shows

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Context = std::shared_ptr<SSL_CTX>;

int NoPassPhrase(char*, int, int, void*) { return 0; }

Bio Open(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free};
}

X509Ptr NextCertificate(BIO* pem) {
  return {PEM_read_bio_X509(pem, nullptr, NoPassPhrase, nullptr), X509_free};
}

// OpenSSL's own socket raises a signal where the peer has gone.
int FdOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

int SendTo(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = send(FdOf(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int ReceiveFrom(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = recv(FdOf(bio), data, static_cast<size_t>(size), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

long Control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

// Lives as long as the process, as OpenSSL's own methods do.
const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    HYDRAD_CHECK(made != nullptr);
    BIO_meth_set_write(made, SendTo);
    BIO_meth_set_read(made, ReceiveFrom);
    BIO_meth_set_ctrl(made, Control);
    return made;
  }();
  return method;
}

int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                   unsigned offered_size, void*) {
  for (std::string_view rest(reinterpret_cast<const char*>(offered), offered_size); !rest.empty();) {
    const size_t length = static_cast<unsigned char>(rest.front());
    if (rest.substr(1, length) == kProtocol) {
      *out = reinterpret_cast<const unsigned char*>(rest.data() + 1);
      *size = static_cast<unsigned char>(length);
      return SSL_TLSEXT_ERR_OK;
    }
    rest.remove_prefix(std::min(rest.size(), length + 1));
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// What OpenSSL says of its last failure.
std::string LastError() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "it cannot be used" : reason;
}

absl::Status Show(SSL_CTX* context, const Certificates& certificates) {
  const Bio chain = Open(certificates.chain), secret = Open(certificates.key);
  const X509Ptr own = NextCertificate(chain.get());
  const Key key(PEM_read_bio_PrivateKey(secret.get(), nullptr, NoPassPhrase, nullptr), EVP_PKEY_free);
  if (SSL_CTX_use_certificate(context, own.get()) != 1) return InvalidArgument("--tls-cert: {}", LastError());
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) return InvalidArgument("--tls-key: {}", LastError());
  while (X509Ptr next = NextCertificate(chain.get())) {
    if (SSL_CTX_add1_chain_cert(context, next.get()) != 1)
      return InvalidArgument("--tls-cert: {}", LastError());
  }
  return absl::OkStatus();
}

absl::Status Ask(SSL_CTX* context, const std::string& client_ca) {
  const Bio in = Open(client_ca);
  while (const X509Ptr next = NextCertificate(in.get())) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), next.get()) != 1 ||
        SSL_CTX_add_client_CA(context, next.get()) != 1) {
      return InvalidArgument("--tls-client-ca: {}", LastError());
    }
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_max_cert_list(context, kMostOfClientChain);
  const auto* name = reinterpret_cast<const unsigned char*>(kProtocol.data());
  SSL_CTX_set_session_id_context(context, name, kProtocol.size());  // else no client can come back
  return absl::OkStatus();
}

absl::StatusOr<Context> MakeContext(const Certificates& certificates) {
  const Context context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr) return InvalidArgument("TLS: {}", LastError());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // An idle connection has no buffers, and nothing of one that has ended is kept.
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(context.get(), ChooseProtocol, nullptr);
  RETURN_IF_ERROR(Show(context.get(), certificates));
  if (!certificates.client_ca.empty()) RETURN_IF_ERROR(Ask(context.get(), certificates.client_ca));
  ERR_clear_error();  // the end of each list is one
  return context;
}

}  // namespace

void TlsSession::Free::operator()(ssl_st* session) const { SSL_free(session); }

Moved TlsSession::After(int result) {
  using Then = Moved::Then;
  if (result > 0) return {.then = Then::kDone, .bytes = static_cast<size_t>(result)};
  const int error = SSL_get_error(session_.get(), result);
  if (error == SSL_ERROR_WANT_READ) return {.then = Then::kWantsRead};
  if (error == SSL_ERROR_WANT_WRITE) return {.then = Then::kWantsWrite};
  ERR_clear_error();
  return {};
}

Moved TlsSession::Read(std::span<char> into) {
  HYDRAD_CHECK(into.size() >= kRecordBytes);
  return After(SSL_read(session_.get(), into.data(), static_cast<int>(into.size())));
}

Moved TlsSession::Write(std::string_view bytes) {
  const size_t most = std::min<size_t>(bytes.size(), 1 << 30);
  return After(SSL_write(session_.get(), bytes.data(), static_cast<int>(most)));
}

void TlsSession::End() {
  if (established()) SSL_shutdown(session_.get());
  ERR_clear_error();
}

bool TlsSession::IsHello(char first) { return first == SSL3_RT_HANDSHAKE; }

bool TlsSession::established() const { return SSL_is_init_finished(session_.get()) == 1; }

std::unique_ptr<TlsSession> TlsDoor::Open(int fd) {
  auto current = certificates_.current();
  if (current != given_) {
    absl::StatusOr<Context> context = MakeContext(*current);
    HYDRAD_CHECK(context.ok());  // ReadCertificates has tried them
    context_ = *std::move(context);
    given_ = std::move(current);
  }
  SSL* const session = SSL_new(context_.get());
  BIO* const bio = BIO_new(SocketMethod());
  HYDRAD_CHECK(session != nullptr && bio != nullptr);
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(session, bio, bio);
  SSL_set_accept_state(session);
  return std::unique_ptr<TlsSession>(new TlsSession(session));
}

absl::Status CheckUsable(const Certificates& certificates) { return MakeContext(certificates).status(); }

}  // namespace hydrad
