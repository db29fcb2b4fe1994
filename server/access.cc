#include "server/access.h"

#include <set>
#include <sstream>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/listen_address.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

const std::set<std::string, std::less<>> kChangeable = {"tenants",  "admin-key-sha256", "log-level",
                                                        "tls-cert", "tls-key",          "tls-client-ca"};

absl::Status CheckListener(const std::string& option, const std::string& text, bool allow_plaintext_public) {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
  return Annotate(CheckExposure(address, allow_plaintext_public), option);
}

// One that others reach asks for keys.
absl::Status CheckAdminListener(const std::string& option, const std::string& text, const Config& config) {
  if (text.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckListener(option, text, config.allow_plaintext_public || !config.tls_cert.empty()));
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(text));
  if (IsLocal(address) || !config.admin_key_sha256.empty()) return absl::OkStatus();
  return FailedPrecondition(
      "{} '{}' can be reached from other machines and asks for no key; pass --admin-key-sha256", option,
      text);
}

std::set<std::string> Lines(const std::string& text) {
  std::istringstream in(text);
  std::set<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

// The keys of the lines that one text has and the other has not.
std::set<std::string> KeysThatDiffer(const std::string& one, const std::string& other) {
  const std::set<std::string> a = Lines(one), b = Lines(other);
  std::set<std::string> keys;
  for (const auto& [lines, others] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const std::string& line : *lines) {
      if (!others->contains(line)) keys.insert(line.substr(0, line.find('=')));
    }
  }
  return keys;
}

// Other files are taken; whether there is TLS and whether clients show certificates is for the next start.
void TakeTlsFiles(const Config& read, Config& next, std::vector<std::string>& left_out) {
  if (read.tls_cert.empty() != next.tls_cert.empty()) {
    left_out.insert(left_out.end(), {"--tls-cert", "--tls-key"});
    return;
  }
  next.tls_cert = read.tls_cert;
  next.tls_key = read.tls_key;
  if (read.tls_client_ca.empty() != next.tls_client_ca.empty()) {
    left_out.emplace_back("--tls-client-ca");
  } else {
    next.tls_client_ca = read.tls_client_ca;
  }
}

}  // namespace

absl::StatusOr<std::vector<TenantConfig>> Tenants(const Config& config) {
  if (config.tenants.empty()) return std::vector<TenantConfig>();
  return LoadTenants(config.tenants);
}

std::vector<TenantConfig> Administrators(const Config& config) {
  if (config.admin_key_sha256.empty()) return {};
  TenantConfig admin;
  admin.name = "admin";
  admin.key_sha256 = config.admin_key_sha256;
  return {admin};
}

absl::StatusOr<std::optional<Certificates>> CertificatesOf(const Config& config) {
  if (config.tls_cert.empty()) return std::nullopt;
  return ReadCertificates(
      {.certificate = config.tls_cert, .key = config.tls_key, .client_ca = config.tls_client_ca});
}

absl::Status CheckExposures(const Config& config) {
  const bool plain = config.allow_plaintext_public, allowed = plain || !config.tls_cert.empty();
  RETURN_IF_ERROR(CheckListener("--listen", config.listen, allowed));
  if (!config.http_listen.empty()) {
    RETURN_IF_ERROR(CheckListener("--http-listen", config.http_listen, allowed));
  }
  if (!config.metrics_listen.empty()) {
    RETURN_IF_ERROR(CheckListener("--metrics-listen", config.metrics_listen, plain));
  }
  RETURN_IF_ERROR(CheckAdminListener("--admin-listen", config.admin_listen, config));
  RETURN_IF_ERROR(CheckAdminListener("--http-admin-listen", config.http_admin_listen, config));
  const bool shared = !config.http_admin_listen.empty() && config.http_admin_listen == config.http_listen;
  if (!shared || !config.admin_key_sha256.empty()) return absl::OkStatus();
  return FailedPrecondition(
      "--http-admin-listen is --http-listen, where clients ask; pass --admin-key-sha256");
}

absl::StatusOr<Changes> ReadChanges(const std::vector<std::string>& arguments, const Config& running,
                                    const std::string& effective) {
  const CommandLine line = ParseConfig(arguments);
  if (line.exit) return InvalidArgument("{}", line.exit->text.substr(0, line.exit->text.find('\n')));
  Config next = running;
  next.tenants = line.config.tenants;
  next.admin_key_sha256 = line.config.admin_key_sha256;
  Changes changes;
  TakeTlsFiles(line.config, next, changes.left_out);
  RETURN_IF_ERROR(CheckExposures(next));
  ASSIGN_OR_RETURN(changes.certificates, CertificatesOf(next));
  ASSIGN_OR_RETURN(changes.tenants, Tenants(next));
  changes.administrators = Administrators(next);
  changes.log_level = line.config.log_level;
  for (const std::string& key : KeysThatDiffer(effective, line.effective)) {
    if (!kChangeable.contains(key)) changes.left_out.push_back("--" + key);
  }
  return changes;
}

}  // namespace hydrad
