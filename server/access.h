// Who may reach and use the daemon, by its configuration.
#ifndef HYDRAD_SERVER_ACCESS_H_
#define HYDRAD_SERVER_ACCESS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <vector>

#include "server/admission/admission.h"
#include "server/base/certificates.h"
#include "server/config.h"

namespace hydrad {

// Those of --tenants; none without it. Errors name the file.
absl::StatusOr<std::vector<TenantConfig>> Tenants(const Config& config);

// One, with the keys that may administer; none if there are no keys.
std::vector<TenantConfig> Administrators(const Config& config);

// What the listeners show; none without --tls-cert. Errors name the option and the file.
absl::StatusOr<std::optional<Certificates>> CertificatesOf(const Config& config);

// Who can reach the listeners, and whether that was meant: FAILED_PRECONDITION, naming the option, if not.
absl::Status CheckExposures(const Config& config);

// What may change while the daemon runs.
struct Changes {
  std::vector<TenantConfig> tenants, administrators;
  std::optional<Certificates> certificates;  // none in plain text
  std::string log_level;
  std::vector<std::string> left_out;  // other options that have another value now: they need a restart
};

// Reads the configuration again, from the same arguments, and the files of tenants and certificates.
// `running` is what the daemon was started with, `effective` the text of it. Nothing of it changes when there
// is an error.
absl::StatusOr<Changes> ReadChanges(const std::vector<std::string>& arguments, const Config& running,
                                    const std::string& effective);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ACCESS_H_
