// The commands that ask and print: tokenize, models, status, health.
#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <CLI/CLI.hpp>
#include <ctime>
#include <memory>
#include <utility>

#include "client/hydractl/human.h"
#include "client/hydractl/json_output.h"
#include "client/hydractl/session.h"
#include "client/hydractl/text_table.h"

namespace hydrad {
namespace {

struct InfoFlags {
  std::string text, service, adapter;
  bool parse_special = false, no_special = false;
  CallFlags call{.timeout_seconds = 10};
};
using google::protobuf::util::TimeUtil;
using Run = void (*)(const InfoFlags&, Session&);

void RunTokenize(const InfoFlags& flags, Session& session) {
  v1::TokenizeRequest request;
  request.set_text(session.TextOrStdin(flags.text));
  request.set_parse_special(flags.parse_special);
  request.set_no_special(flags.no_special);
  request.set_adapter(flags.adapter);
  const auto tokens = Client(session.ToServer()).Tokenize(request, flags.call.options());
  if (!tokens.ok()) return session.Fail(tokens.status(), session.server);
  if (session.json) {
    session.out << Line(ToJson(*tokens)) << '\n';
    return;
  }
  for (int i = 0; i < tokens->token_ids_size(); ++i) {
    const std::string text = i < tokens->tokens_size() ? tokens->tokens(i) : "";
    session.out << tokens->token_ids(i) << '\t' << Line(text) << '\n';
  }
}

void RunModels(const InfoFlags& flags, Session& session) {
  const auto models = Client(session.ToServer()).ListModels(flags.call.options());
  if (!models.ok()) return session.Fail(models.status(), session.server);
  if (session.json) {
    session.out << Line(ToJson(*models)) << '\n';
    return;
  }
  Table table({"ADAPTER", "GEN", "BASE", "CHAT"});
  for (const auto& model : models->models()) {
    table.Add({model.name().empty() ? "(base)" : model.name(), std::to_string(model.generation()),
               models->base_model(), model.chat() ? "yes" : "no"});
  }
  table.Print(session.out);
}

std::string UsedText(uint64_t used, uint64_t budget) {
  return fmt::format("{} of {}", BytesText(used), BytesText(budget));
}

std::string StartedText(const google::protobuf::Timestamp& started) {
  return fmt::format("{} ({} ago)", TimeUtil::ToString(TimeUtil::SecondsToTimestamp(started.seconds())),
                     DurationText(std::time(nullptr) - started.seconds()));
}

void PrintStatus(const v1::ServerStatus& s, std::ostream& out) {
  const int64_t blocks_used = s.kv_blocks_total() - s.kv_blocks_free();
  const double share = s.kv_blocks_total() > 0 ? 100.0 * blocks_used / s.kv_blocks_total() : 0;
  const std::pair<const char*, std::string> lines[] = {
      {"version", s.version()},
      {"state", s.draining() ? "draining" : "serving"},
      {"started", StartedText(s.started())},
      {"base model", s.base_model()},
      {"device", s.device()},
      {"weights", s.weight_type()},
      {"context", fmt::format("{} tokens", s.max_context())},
      {"requests", fmt::format("{} running, {} waiting", s.requests_running(), s.requests_waiting())},
      {"KV cache", fmt::format("{} of {} blocks ({:.0f} %)", blocks_used, s.kv_blocks_total(), share)},
      {"adapters", std::to_string(s.adapters())},
      {"  on the device", UsedText(s.adapter_bytes_used(), s.adapter_bytes_budget())},
      {"  in host memory", UsedText(s.adapter_host_bytes_used(), s.adapter_host_bytes_budget())},
  };
  for (const auto& [name, value] : lines) out << fmt::format("{:<18}{}\n", name, value);
}

void RunStatus(const InfoFlags& flags, Session& session) {
  const auto status = AdminClient(session.ToAdmin()).GetServerStatus(flags.call.options());
  if (!status.ok()) return session.Fail(status.status(), session.admin);
  if (session.json) {
    session.out << Line(ToJson(*status)) << '\n';
  } else {
    PrintStatus(*status, session.out);
  }
}

void RunHealth(const InfoFlags& flags, Session& session) {
  const auto health = session.ToServer().Check(flags.service, flags.call.options());
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
  AddJsonFlag(*command, session, "Print {token_ids, tokens}; else a line for each token: its id and text");
  command->add_flag("--parse-special", flags->parse_special,
                    "Special tokens written in the text count as such");
  command->add_flag("--no-special", flags->no_special, "Do not add the tokenizer's special tokens (BOS)");
  command
      ->add_option("--adapter", flags->adapter,
                   "A loaded adapter, whose tokens are meant; none: the base model")
      ->type_name("NAME");
  AddTenantKeyFlag(*command, flags->call);
  command->footer(
      "Examples:\n  hydractl tokenize 'Hello world'\n"
      "  hydractl tokenize --json - < prompt.txt | jq '.token_ids | length'");
}

void AddModelsCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = AddInfo(app, "models", "The base model and the adapters that the tenant may use",
                              RunModels, flags, session);
  AddJsonFlag(*command, session);
  AddTenantKeyFlag(*command, flags->call);
}

void AddStatusCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = AddInfo(app, "status", "What the daemon runs and how busy it is (admin listener)",
                              RunStatus, flags, session);
  AddJsonFlag(*command, session);
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
