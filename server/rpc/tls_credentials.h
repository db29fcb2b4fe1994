// gRPC's side of TLS.
#ifndef HYDRAD_SERVER_RPC_TLS_CREDENTIALS_H_
#define HYDRAD_SERVER_RPC_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/base/certificates.h"

namespace hydrad {

// Credentials of one listener that look into `certificates`, which must outlive them, at every new
// connection. They serve one port of one server.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const CertificateHolder& certificates);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_TLS_CREDENTIALS_H_
