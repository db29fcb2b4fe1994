#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "client/hydractl/heat_map.h"
#include "client/hydractl/json_output.h"
#include "client/hydractl/session.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "Runs the prompt and a few tokens more, always the most likely ones, and draws how the routers weighed "
    "their\n"
    "experts: a row for each layer, a column for each expert, the mean over all tokens. Below it stands, for "
    "each\n"
    "token generated, the expert that weighed most when it was drawn.\n\n"
    "Examples:\n"
    "  hydractl route --adapter domains 'SELECT name FROM'\n"
    "  hydractl route --adapter domains --projections --max-tokens 1 'Once upon a time'\n"
    "  hydractl route --adapter domains --json - < prompt.txt | jq '.routers[0].mean'";

struct RouteFlags {
  std::string prompt, adapter;
  CallFlags call;
  int max_tokens = 16;
  std::optional<int> adapter_top_k;
  bool projections = false, parse_special = false;
};

v1::GenerateRequest RequestOf(const RouteFlags& f, std::string text) {
  v1::GenerateRequest request;
  request.set_text(std::move(text));
  request.set_adapter(f.adapter);
  request.set_parse_special(f.parse_special);
  if (f.adapter_top_k) request.set_adapter_top_k(*f.adapter_top_k);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(f.max_tokens);
  request.mutable_output()->set_routing(true);
  return request;
}

void Draw(const RouteFlags& flags, const v1::GenerateResult& result, std::ostream& out) {
  const v1::Routing& routing = result.routing(0);
  out << "adapter " << routing.adapter() << ", generation " << result.start().generation()
      << ": mean weights over " << routing.tokens() << " tokens"
      << (result.start().approximate() ? ", approximate" : "") << "\n\n"
      << DrawHeatMap(flags.projections ? RouterRows(routing) : LayerRows(routing));
  if (routing.choices().empty()) return;
  out << "\ntokens: ";
  for (const int expert : routing.choices(0).top()) out << ' ' << expert;
  out << '\n';
}

void RunRoute(const RouteFlags& flags, Session& session) {
  const Client client(session.ToServer());
  const auto result =
      client.GenerateUnary(RequestOf(flags, session.TextOrStdin(flags.prompt)), flags.call.options());
  if (!result.ok()) {
    return session.FailNaming(result.status(), session.server,
                              [&] { return UsableAdapters(session, flags.call); });
  }
  if (result->routing().empty()) {
    return session.Fail(FailedPrecondition("adapter '{}' has no routers", flags.adapter), session.server);
  }
  if (session.json) {
    Json json = ToJson(result->routing(0));
    json["text"] = result->choices_size() > 0 ? result->choices(0).text() : "";
    session.out << Line(json) << '\n';
  } else {
    Draw(flags, *result, session.out);
  }
}

}  // namespace

void AddRouteCommand(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("route", "Show how an adapter's routers weigh its experts on a prompt");
  const auto flags = std::make_shared<RouteFlags>();
  command->add_option("PROMPT", flags->prompt, "The prompt, or - for standard input")->required();
  command->add_option("--adapter", flags->adapter, "A loaded adapter with routers")
      ->type_name("NAME")
      ->required();
  command->add_option("--max-tokens", flags->max_tokens, "Generate at most so many tokens")
      ->capture_default_str();
  command->add_option("--adapter-top-k", flags->adapter_top_k, "Keep the K experts that weigh most")
      ->type_name("K");
  command->add_flag("--projections", flags->projections, "A row for each router, not for each layer");
  command->add_flag("--parse-special", flags->parse_special,
                    "Special tokens written in the prompt count as such");
  AddJsonFlag(*command, session, "Print one JSON object: adapter, tokens, routers, choices, text");
  AddTenantKeyFlag(*command, flags->call);
  AddTimeoutFlag(*command, flags->call);
  command->footer(kFooter);
  command->callback([flags, &session] { RunRoute(*flags, session); });
}

}  // namespace hydrad
