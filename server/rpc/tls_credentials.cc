#include "server/rpc/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <utility>

#include "server/base/check.h"

namespace hydrad {
namespace {

// gRPC 1.51's C++ has credentials whose files it watches by itself, at intervals and without saying what is
// wrong with them; its C has these, which ask back at every handshake.
class AskingCredentials final : public grpc::ServerCredentials {
 public:
  explicit AskingCredentials(const CertificateHolder& certificates) : certificates_(certificates) {
    const auto request = certificates.asks_clients()
                             ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                             : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(request, Fetch, this));
    HYDRAD_CHECK(credentials_ != nullptr);
  }
  ~AskingCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    HYDRAD_CHECK(false && "keys are read from the metadata of calls");
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // gRPC calls it under a lock of the port's, first when the port is added.
  static grpc_ssl_certificate_config_reload_status Fetch(void* self,
                                                         grpc_ssl_server_certificate_config** config) {
    auto& credentials = *static_cast<AskingCredentials*>(self);
    auto current = credentials.certificates_.current();
    if (current == credentials.given_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {current->key.c_str(), current->chain.c_str()};
    // gRPC wants some also where it asks clients for nothing, and does not look at them then.
    const std::string& roots = credentials.certificates_.asks_clients() ? current->client_ca : current->chain;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    credentials.given_ = std::move(current);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const CertificateHolder& certificates_;
  grpc_server_credentials* credentials_;
  std::shared_ptr<const Certificates> given_;  // what gRPC has; under the port's lock
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const CertificateHolder& certificates) {
  return std::make_shared<AskingCredentials>(certificates);
}

}  // namespace hydrad
