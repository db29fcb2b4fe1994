// What every command of hydractl is given, and the list of the commands.
#ifndef HYDRAD_CLIENT_HYDRACTL_SESSION_H_
#define HYDRAD_CLIENT_HYDRACTL_SESSION_H_

#include <absl/status/status.h>

#include <functional>
#include <istream>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "client/hydrad_client.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace hydrad {

// One run of hydractl. The streams must outlive it. One thread.
struct Session {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  std::string server = "127.0.0.1:8471";  // address of the inference listener
  std::string admin = "127.0.0.1:8472";   // and of the admin listener
  bool with_tls = false;                  // both listeners speak TLS; so they do if `tls_texts` has any
  TlsOptions tls_texts{};
  bool json = false;  // --json was given: answers and errors are JSON on `out`
  int exit_code = 0;

  // What --tls and its files ask for; none: plain text.
  std::optional<TlsOptions> tls() const;
  // New connections to the two listeners.
  Connection ToServer() const { return Connection(server, tls()); }
  Connection ToAdmin() const { return Connection(admin, tls()); }

  // Explains an error of the daemon at `address`, for people on `err` or as JSON on `out`, and sets the exit
  // code to 1.
  void Fail(const absl::Status& status, const std::string& address);
  // As Fail. Where the daemon does not know an adapter, the error also says which of `names` was meant, if
  // one is near; `names` is called only then.
  void FailNaming(const absl::Status& status, const std::string& address,
                  const std::function<std::vector<std::string>()>& names);
  // Says what is wrong with the arguments and sets the exit code to 2.
  void FailUsage(const std::string& text);
  // The text that an argument names: itself, or for "-" all of `in` less one newline at its end.
  std::string TextOrStdin(const std::string& argument);
};

// Each adds one command, with its options, help and action, to `app`. `session` must outlive `app`.
void AddChatCommand(CLI::App& app, Session& session);
void AddGenerateCommand(CLI::App& app, Session& session);
void AddAdapterCommand(CLI::App& app, Session& session);
void AddRouteCommand(CLI::App& app, Session& session);
void AddTokenizeCommand(CLI::App& app, Session& session);
void AddModelsCommand(CLI::App& app, Session& session);
void AddStatusCommand(CLI::App& app, Session& session);
void AddHealthCommand(CLI::App& app, Session& session);
void AddBenchCommand(CLI::App& app, Session& session);
void AddTenantKeyCommand(CLI::App& app, Session& session);

// Options that several commands have.
struct CallFlags {
  std::string key = {};
  double timeout_seconds = 0;

  CallOptions options() const;
};

// The adapters that a tenant may use; none when the daemon does not say.
std::vector<std::string> UsableAdapters(const Session& session, const CallFlags& flags);

void AddTimeoutFlag(CLI::App& command, CallFlags& flags);
void AddTenantKeyFlag(CLI::App& command, CallFlags& flags);  // for the inference listener
void AddAdminKeyFlag(CLI::App& command, CallFlags& flags);   // for the admin listener
CLI::Option* AddJsonFlag(CLI::App& command, Session& session, const std::string& help = "Print JSON");

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_SESSION_H_
