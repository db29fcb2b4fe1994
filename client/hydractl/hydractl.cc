#include "client/hydractl/hydractl.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iterator>

#include "client/error_text.h"
#include "client/hydractl/json_output.h"
#include "client/hydractl/session.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/base/unknown_word.h"

namespace hydrad {
namespace {

constexpr uint64_t kMaxPemFile = 4 << 20;
constexpr char kFooter[] =
    "Examples:\n"
    "  hydractl chat 'What is gravity?'\n"
    "  hydractl generate 'Once upon a time'\n"
    "  hydractl generate --adapter pirate --max-tokens 64 --temperature 0 'The weather today'\n"
    "  hydractl route --adapter domains 'SELECT name FROM'\n"
    "  hydractl adapter load pirate --path pirate-v2\n"
    "  hydractl adapter list\n"
    "  hydractl bench --prompts prompts.txt --all-adapters --rate 20 --duration 60\n"
    "  hydractl health && echo up\n\n"
    "`hydractl COMMAND --help` has more examples. An address is host:port or unix:/path.\n"
    "Exit codes: 0 done, 1 the daemon refused or could not be reached, 2 wrong arguments.";

// Checks that a file can be read, and puts its text into `text`.
CLI::Validator ReadInto(std::string& text) {
  return {[&text](const std::string& path) -> std::string {
            const absl::StatusOr<std::string> read = ReadFile(path, kMaxPemFile);
            if (!read.ok()) return std::string(read.status().message());
            if (read->find("-----BEGIN ") == std::string::npos) return fmt::format("'{}' holds no PEM", path);
            text = *read;
            return "";
          },
          "FILE"};
}

void AddTlsFlags(CLI::App& app, Session& session) {
  app.add_flag("--tls", session.with_tls,
               "Speak TLS to the daemon, whose certificate must be for the address's host")
      ->envname("HYDRAD_TLS");
  const auto add = [&app](const char* flag, std::string& text, const char* variable, const char* help) {
    return app
        .add_option_function<std::string>(
            flag, [](const std::string&) {}, help)
        ->type_name("")
        ->check(ReadInto(text))
        ->envname(variable);
  };
  TlsOptions& texts = session.tls_texts;
  add("--ca-cert", texts.ca, "HYDRAD_CA_CERT",
      "Who vouches for the daemon (PEM), in place of the system's authorities; --tls");
  CLI::Option* cert = add("--cert", texts.certificate, "HYDRAD_CERT",
                          "Certificate (PEM) to show to a daemon that asks for one; --tls");
  CLI::Option* key = add("--key", texts.key, "HYDRAD_KEY", "Key (PEM) of --cert");
  cert->needs(key);
  key->needs(cert);
}

// --server and --admin belong to the program, yet are accepted anywhere on the line.
void AddCommonFlags(CLI::App& app, Session& session) {
  app.add_option("--server", session.server, "Address of the inference listener")
      ->type_name("ADDR")
      ->envname("HYDRAD_SERVER")
      ->capture_default_str();
  app.add_option("--admin", session.admin, "Address of the admin listener")
      ->type_name("ADDR")
      ->envname("HYDRAD_ADMIN")
      ->capture_default_str();
  AddTlsFlags(app, session);
}

void AddCommands(CLI::App& app, Session& session) {
  AddChatCommand(app, session);
  AddGenerateCommand(app, session);
  AddAdapterCommand(app, session);
  AddRouteCommand(app, session);
  AddTokenizeCommand(app, session);
  AddModelsCommand(app, session);
  AddStatusCommand(app, session);
  AddHealthCommand(app, session);
  AddBenchCommand(app, session);
  AddTenantKeyCommand(app, session);
}

// Every command's help says that the common options hold for it too.
void MentionCommonFlags(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands({})) {
    const std::string footer = command->get_footer();
    command->footer((footer.empty() ? "" : footer + "\n\n") +
                    "See `hydractl --help` for --server, --admin and --tls.");
    MentionCommonFlags(*command);
  }
}

}  // namespace

std::optional<TlsOptions> Session::tls() const {
  if (!with_tls && tls_texts.ca.empty() && tls_texts.certificate.empty()) return std::nullopt;
  return tls_texts;
}

void Session::Fail(const absl::Status& status, const std::string& address) {
  exit_code = 1;
  if (json) {
    out << Line({{"error", ToJson(status)}}) << '\n';
    return;
  }
  err << "hydractl: " << Explain(status) << '\n';
  if (status.code() == absl::StatusCode::kUnavailable && DetailsOf(status).reason.empty()) {
    err << "  Is the daemon running at " << address << ", "
        << (tls() ? "with TLS? See --server, --admin and --ca-cert.\n"
                  : "without TLS? See --server, --admin and --tls.\n");
  }
}

void Session::FailNaming(const absl::Status& status, const std::string& address,
                         const std::function<std::vector<std::string>()>& names) {
  const ErrorDetails details = DetailsOf(status);
  const auto adapter = details.metadata.find("adapter");
  if (details.reason != "ADAPTER_NOT_FOUND" || adapter == details.metadata.end())
    return Fail(status, address);
  Fail(WithNote(status, DidYouMean(adapter->second, names())), address);
}

void Session::FailUsage(const std::string& text) {
  err << text << "\nRun with --help for more information.\n";
  exit_code = 2;
}

std::string Session::TextOrStdin(const std::string& argument) {
  if (argument != "-") return argument;
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

CallOptions CallFlags::options() const {
  return {std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout_seconds)), key};
}

std::vector<std::string> UsableAdapters(const Session& session, const CallFlags& flags) {
  std::vector<std::string> names;
  const auto models = Client(session.ToServer()).ListModels(flags.options());
  if (!models.ok()) return names;
  for (const auto& model : models->models()) {
    if (!model.name().empty()) names.push_back(model.name());
  }
  return names;
}

void AddTimeoutFlag(CLI::App& command, CallFlags& flags) {
  command.add_option("--timeout", flags.timeout_seconds, "Give up after so many seconds; 0: never")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
}

void AddTenantKeyFlag(CLI::App& command, CallFlags& flags) {
  command
      .add_option("--tenant-key", flags.key,
                  "The tenant's key; better given in the environment, where other users do not see it")
      ->type_name("KEY")
      ->envname("HYDRAD_TENANT_KEY");
}

void AddAdminKeyFlag(CLI::App& command, CallFlags& flags) {
  command
      .add_option("--admin-key", flags.key,
                  "An administrator's key; better given in the environment, where other users do not see it")
      ->type_name("KEY")
      ->envname("HYDRAD_ADMIN_KEY");
}

CLI::Option* AddJsonFlag(CLI::App& command, Session& session, const std::string& help) {
  return command.add_flag("--json", session.json, help + "; an error is {\"error\": {code, message, ...}}");
}

int RunHydractl(std::vector<std::string> args, std::istream& in, std::ostream& out, std::ostream& err) {
  Session session{in, out, err};
  CLI::App app("Talks to a hydrad daemon: chats, generates text and runs its adapters.", "hydractl");
  app.fallthrough();
  app.require_subcommand(1);
  AddCommonFlags(app, session);
  AddCommands(app, session);
  MentionCommonFlags(app);
  app.footer(kFooter);
  app.set_version_flag("--version", "hydractl " HYDRAD_VERSION, "Print the version and exit");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // as CLI11 takes them
  } catch (const CLI::Success& e) {
    return app.exit(e, out, err);
  } catch (const CLI::ParseError& e) {
    const std::optional<std::string> unknown = UnknownWord(app, args);
    if (!unknown) return app.exit(e, out, err) == 0 ? 0 : 2;
    session.FailUsage("hydractl: " + *unknown);
    return session.exit_code;
  }
  out.flush();
  return session.exit_code;
}

}  // namespace hydrad
