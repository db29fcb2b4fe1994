// The commands that ask and print: tokenize, models, status, health.
#include <CLI/CLI.hpp>
#include <memory>

#include "client/hydractl/json.h"
#include "client/hydractl/session.h"
#include "client/hydractl/table.h"

namespace hydrad {
namespace {

struct InfoFlags {
  std::string text, service;
  bool json = false, parse_special = false, no_special = false;
  CallFlags call{.timeout_seconds = 10};
};
using Run = void (*)(const InfoFlags&, Session&);

void RunTokenize(const InfoFlags& flags, Session& session) {
  v1::TokenizeRequest request;
  request.set_text(session.TextOrStdin(flags.text));
  request.set_parse_special(flags.parse_special);
  request.set_no_special(flags.no_special);
  const auto tokens = Client(session.server).Tokenize(request, flags.call.options());
  if (!tokens.ok()) return session.Fail(tokens.status(), session.server);
  if (flags.json) {
    session.out << Line(ToJson(*tokens)) << '\n';
    return;
  }
  for (int i = 0; i < tokens->token_ids_size(); ++i) {
    const std::string text = i < tokens->tokens_size() ? tokens->tokens(i) : "";
    session.out << tokens->token_ids(i) << '\t' << Line(text) << '\n';
  }
}

void RunModels(const InfoFlags& flags, Session& session) {
  const auto models = Client(session.server).ListModels(flags.call.options());
  if (!models.ok()) return session.Fail(models.status(), session.server);
  if (flags.json) {
    session.out << Line(ToJson(*models)) << '\n';
    return;
  }
  Table table({"ADAPTER", "GEN", "BASE"});
  for (const auto& model : models->models()) {
    table.Add({model.name().empty() ? "(base)" : model.name(), std::to_string(model.generation()),
               models->base_model()});
  }
  table.Print(session.out);
}

void RunStatus(const InfoFlags& flags, Session& session) {
  const auto status = AdminClient(session.admin).GetServerStatus(flags.call.options());
  if (!status.ok()) return session.Fail(status.status(), session.admin);
  const Json json = ToJson(*status);
  if (flags.json) {
    session.out << Line(json) << '\n';
    return;
  }
  for (const auto& [key, value] : json.items()) {
    session.out << fmt::format("{:<22}{}\n", key,
                               value.is_string() ? value.get<std::string>() : value.dump());
  }
}

void RunHealth(const InfoFlags& flags, Session& session) {
  const auto health = Connection(session.server).Check(flags.service, flags.call.options());
  if (!health.ok()) return session.Fail(health.status(), session.server);
  const char* name = *health == Health::kServing      ? "SERVING"
                     : *health == Health::kNotServing ? "NOT_SERVING"
                                                      : "UNKNOWN";
  session.out << name << '\n';
  session.exit_code = *health == Health::kServing ? 0 : 1;
}

CLI::App* AddInfo(CLI::App& app, const std::string& name, const std::string& help, Run run,
                  const std::shared_ptr<InfoFlags>& flags, Session& session) {
  CLI::App* command = app.add_subcommand(name, help);
  AddTimeoutFlag(*command, flags->call);
  command->callback([flags, run, &session] { run(*flags, session); });
  return command;
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = AddInfo(app, "tokenize", "Show the tokens of a text", RunTokenize, flags, session);
  command->add_option("TEXT", flags->text, "The text, or - for standard input")->required();
  command->add_flag("--json", flags->json,
                    "Print {token_ids, tokens}; else a line for each token: its id and text");
  command->add_flag("--parse-special", flags->parse_special,
                    "Special tokens written in the text count as such");
  command->add_flag("--no-special", flags->no_special, "Do not add the tokenizer's special tokens (BOS)");
  AddTenantKeyFlag(*command, flags->call);
  command->footer(
      "Examples:\n  hydractl tokenize 'Hello world'\n"
      "  hydractl tokenize --json - < prompt.txt | jq '.token_ids | length'");
}

void AddModelsCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = AddInfo(app, "models", "The base model and the adapters that the tenant may use",
                              RunModels, flags, session);
  command->add_flag("--json", flags->json, "Print JSON");
  AddTenantKeyFlag(*command, flags->call);
}

void AddStatusCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = AddInfo(app, "status", "What the daemon runs and how busy it is (admin listener)",
                              RunStatus, flags, session);
  command->add_flag("--json", flags->json, "Print JSON");
  AddAdminKeyFlag(*command, flags->call);
  command->footer("Example:\n  hydractl status --json | jq '.kv_blocks_free / .kv_blocks_total'");
}

void AddHealthCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<InfoFlags>();
  flags->call.timeout_seconds = 2;  // a probe waits for nobody
  CLI::App* command = AddInfo(app, "health", "Exit with 0 when the daemon is SERVING, else with 1", RunHealth,
                              flags, session);
  command->add_option("--service", flags->service,
                      "\"\" (the daemon), liveness, readiness or a full service name");
  command->footer(
      "Examples:\n  hydractl health\n  hydractl health --service readiness --timeout 1\n"
      "In a Dockerfile:\n  HEALTHCHECK CMD [\"hydractl\", \"health\"]");
}

}  // namespace hydrad
