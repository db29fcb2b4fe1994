#include <google/protobuf/util/time_util.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "client/hydractl/json.h"
#include "client/hydractl/session.h"
#include "client/hydractl/table.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  hydractl adapter load pirate --path pirate-v2\n"
    "  hydractl adapter load pirate --path pirate-v3 --validate-only\n"
    "  hydractl adapter list --json | jq -r '.[] | select(.state == \"AVAILABLE\") | .name'\n"
    "  hydractl adapter watch --json\n"
    "  hydractl adapter unload pirate";

struct AdapterFlags {
  std::string name, path;
  bool validate_only = false, json = false;
  CallFlags call;
};
using Flags = std::shared_ptr<AdapterFlags>;

void PrintAdapters(const std::vector<v1::Adapter>& adapters, std::ostream& out) {
  Table table({"NAME", "STATE", "GEN", "FAMILY", "RANK", "EXPERTS", "BYTES", "REQUESTS", "PATH", "ERROR"});
  for (const v1::Adapter& a : adapters) {
    table.Add({a.name(), v1::Adapter::State_Name(a.state()), std::to_string(a.generation()), a.family(),
               std::to_string(a.max_rank()), std::to_string(a.experts()), std::to_string(a.device_bytes()),
               std::to_string(a.requests()), a.path(), a.error()});
  }
  table.Print(out);
}

void PrintAdapter(const absl::StatusOr<v1::Adapter>& adapter, const AdapterFlags& flags, Session& session) {
  if (!adapter.ok()) return session.Fail(adapter.status(), session.admin);
  if (flags.json) {
    session.out << Line(ToJson(*adapter)) << '\n';
  } else {
    PrintAdapters({*adapter}, session.out);
  }
}

void RunLoad(const AdapterFlags& flags, Session& session) {
  v1::LoadAdapterRequest request;
  request.set_name(flags.name);
  request.set_path(flags.path);
  request.set_validate_only(flags.validate_only);
  PrintAdapter(AdminClient(session.admin).LoadAdapter(request, flags.call.options()), flags, session);
}

void RunGet(const AdapterFlags& flags, Session& session) {
  PrintAdapter(AdminClient(session.admin).GetAdapter(flags.name, flags.call.options()), flags, session);
}

void RunUnload(const AdapterFlags& flags, Session& session) {
  PrintAdapter(AdminClient(session.admin).UnloadAdapter(flags.name, flags.call.options()), flags, session);
}

void RunList(const AdapterFlags& flags, Session& session) {
  const auto adapters = AdminClient(session.admin).ListAdapters(flags.call.options());
  if (!adapters.ok()) return session.Fail(adapters.status(), session.admin);
  if (!flags.json) return PrintAdapters(*adapters, session.out);
  Json list = Json::array();
  for (const v1::Adapter& adapter : *adapters) list.push_back(ToJson(adapter));
  session.out << Line(list) << '\n';
}

std::string EventLine(const v1::AdapterEvent& event) {
  const v1::Adapter& a = event.adapter();
  return fmt::format("{}  {}  {}  generation {}{}", google::protobuf::util::TimeUtil::ToString(event.time()),
                     a.name(), v1::Adapter::State_Name(a.state()), a.generation(),
                     a.error().empty() ? "" : "  " + a.error());
}

void RunWatch(const AdapterFlags& flags, Session& session) {
  const auto print = [&](const v1::AdapterEvent& event) {
    session.out << (flags.json ? Line(ToJson(event)) : EventLine(event)) << std::endl;
    return session.out.good();
  };
  const absl::Status status = AdminClient(session.admin).WatchAdapters(flags.call.options(), print);
  if (!status.ok()) session.Fail(status, session.admin);
}

// One subcommand of `adapter` that calls `run`.
CLI::App* AddAction(CLI::App& parent, const std::string& name, const std::string& help, bool takes_name,
                    void (*run)(const AdapterFlags&, Session&), const Flags& flags, Session& session) {
  CLI::App* action = parent.add_subcommand(name, help);
  if (takes_name) action->add_option("NAME", flags->name, "The adapter's name")->required();
  action->add_flag("--json", flags->json, "Print JSON");
  AddTimeoutFlag(*action, flags->call);
  AddAdminKeyFlag(*action, flags->call);
  action->callback([flags, run, &session] { run(*flags, session); });
  return action;
}

}  // namespace

void AddAdapterCommand(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("adapter", "Load, list, watch and unload adapters (admin listener)");
  command->require_subcommand(1);
  command->footer(kFooter);
  const auto flags = std::make_shared<AdapterFlags>();
  CLI::App* load = AddAction(*command, "load",
                             "Load an adapter, or replace it without a pause; waits until it can be used",
                             true, RunLoad, flags, session);
  load->add_option("--path", flags->path, "Its directory, relative to the daemon's adapter root")
      ->required()
      ->type_name("DIR");
  load->add_flag("--validate-only", flags->validate_only, "Only say whether it could be loaded");
  AddAction(*command, "list", "All adapters, by name", false, RunList, flags, session);
  AddAction(*command, "get", "One adapter", true, RunGet, flags, session);
  AddAction(*command, "unload", "Unload an adapter; waits until its last request has ended", true, RunUnload,
            flags, session);
  AddAction(*command, "watch", "The state of every adapter, then each change, a line each", false, RunWatch,
            flags, session);
}

}  // namespace hydrad
