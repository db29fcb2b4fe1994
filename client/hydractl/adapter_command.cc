#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iterator>
#include <memory>

#include "client/hydractl/human.h"
#include "client/hydractl/json_output.h"
#include "client/hydractl/session.h"
#include "client/hydractl/text_table.h"
#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  hydractl adapter load pirate --path pirate-v2\n"
    "  hydractl adapter load pirate --path pirate-v3 --validate-only\n"
    "  hydractl adapter load pirate --path pirate-v3 --etag sha256:... --request-id deploy-17\n"
    "  hydractl adapter list --json | jq -r '.[] | select(.state == \"AVAILABLE\") | .name'\n"
    "  hydractl adapter watch --json\n"
    "  hydractl adapter pin pirate\n"
    "  hydractl adapter unload pirate --force\n"
    "  hydractl adapter apply adapters.json --validate-only";

constexpr char kLoadFooter[] =
    "To replace, add or remove one expert of an MoA, do so in its directory (or in a copy) and load it "
    "again: "
    "only what has changed is uploaded. `hydractl adapter get NAME --json | jq .moa_experts` says since "
    "which "
    "generation each expert is there.";

constexpr char kApplyFooter[] =
    "The file: {\"adapters\": [{\"name\": \"pirate\", \"path\": \"pirate-v2\"}, ...]}; \"etag\" (the digest "
    "that "
    "the files must have) \"pinned\" and \"lenient\" (true or false) may be left out.";

struct AdapterFlags {
  std::string name, path, etag, request_id, file;
  bool validate_only = false, force = false, lenient = false;
  CallFlags call;
};
using Flags = std::shared_ptr<AdapterFlags>;

void PrintAdapters(const std::vector<v1::Adapter>& adapters, std::ostream& out) {
  Table table(
      {"NAME", "STATE", "TIER", "GEN", "FAMILY", "RANK", "EXPERTS", "SIZE", "REQUESTS", "PATH", "ERROR"});
  for (const v1::Adapter& a : adapters) {
    const std::string tier = v1::Adapter::Tier_Name(a.tier()) + (a.pinned() ? " (pinned)" : "");
    table.Add({a.name(), v1::Adapter::State_Name(a.state()), tier, std::to_string(a.generation()), a.family(),
               std::to_string(a.max_rank()), std::to_string(a.experts()), BytesText(a.device_bytes()),
               std::to_string(a.requests()), a.path(), a.error()});
  }
  table.Print(out);
  for (const v1::Adapter& a : adapters) {
    for (const std::string& warning : a.warnings()) out << "warning: " << a.name() << ": " << warning << '\n';
  }
}

std::vector<std::string> LoadedAdapters(const AdapterFlags& flags, const Session& session) {
  std::vector<std::string> names;
  const auto adapters = AdminClient(session.ToAdmin()).ListAdapters(flags.call.options());
  if (!adapters.ok()) return names;
  for (const v1::Adapter& adapter : *adapters) names.push_back(adapter.name());
  return names;
}

// An adapter, or why there is none.
void PrintAdapter(const absl::StatusOr<v1::Adapter>& adapter, const AdapterFlags& flags, Session& session) {
  if (!adapter.ok()) {
    return session.FailNaming(adapter.status(), session.admin,
                              [&] { return LoadedAdapters(flags, session); });
  }
  if (session.json) {
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
  request.set_etag(flags.etag);
  request.set_request_id(flags.request_id);
  request.set_lenient(flags.lenient);
  const auto loaded = AdminClient(session.ToAdmin()).LoadAdapter(request, flags.call.options());
  if (!loaded.ok()) return session.Fail(loaded.status(), session.admin);  // what is missing is a directory
  PrintAdapter(loaded, flags, session);
}

void RunGet(const AdapterFlags& flags, Session& session) {
  PrintAdapter(AdminClient(session.ToAdmin()).GetAdapter(flags.name, flags.call.options()), flags, session);
}

void RunUnload(const AdapterFlags& flags, Session& session) {
  v1::UnloadAdapterRequest request;
  request.set_name(flags.name);
  request.set_force(flags.force);
  request.set_etag(flags.etag);
  request.set_request_id(flags.request_id);
  PrintAdapter(AdminClient(session.ToAdmin()).UnloadAdapter(request, flags.call.options()), flags, session);
}

void RunPin(const AdapterFlags& flags, Session& session) {
  v1::PinAdapterRequest request;
  request.set_name(flags.name);
  request.set_request_id(flags.request_id);
  PrintAdapter(AdminClient(session.ToAdmin()).PinAdapter(request, flags.call.options()), flags, session);
}

void RunUnpin(const AdapterFlags& flags, Session& session) {
  v1::UnpinAdapterRequest request;
  request.set_name(flags.name);
  request.set_request_id(flags.request_id);
  PrintAdapter(AdminClient(session.ToAdmin()).UnpinAdapter(request, flags.call.options()), flags, session);
}

// One entry of the file. INVALID_ARGUMENT with the field.
absl::Status ReadWanted(const Json& entry, v1::WantedAdapter* wanted) {
  if (!entry.is_object()) return InvalidArgument("adapters: each must be an object");
  for (const auto& [key, value] : entry.items()) {
    const bool text = key == "name" || key == "path" || key == "etag";
    const bool flag = key == "pinned" || key == "lenient";
    if (text ? !value.is_string() : !flag || !value.is_boolean()) {
      return InvalidArgument("adapters: '{}' is not known, or not of the type that it must be", key);
    }
    if (key == "name") wanted->set_name(value.get<std::string>());
    if (key == "path") wanted->set_path(value.get<std::string>());
    if (key == "etag") wanted->set_etag(value.get<std::string>());
    if (key == "pinned") wanted->set_pinned(value.get<bool>());
    if (key == "lenient") wanted->set_lenient(value.get<bool>());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ApplyAdaptersRequest> ReadWantedSet(const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  if (!json.is_object() || json.size() != 1 || !json.contains("adapters") || !json["adapters"].is_array()) {
    return InvalidArgument("must be {{\"adapters\": [...]}}");
  }
  v1::ApplyAdaptersRequest request;
  for (const Json& entry : json["adapters"]) RETURN_IF_ERROR(ReadWanted(entry, request.add_adapters()));
  return request;
}

void PrintApplied(const v1::ApplyAdaptersResponse& applied, Session& session) {
  if (session.json) {
    session.out << Line(ToJson(applied)) << '\n';
    return;
  }
  Table table({"NAME", "ACTION"});
  for (const auto& change : applied.changes()) {
    table.Add({change.name(), v1::ApplyAdaptersResponse::Change::Action_Name(change.action())});
  }
  table.Print(session.out);
}

void RunApply(const AdapterFlags& flags, Session& session) {
  std::ifstream file(flags.file);
  std::istream& in = flags.file == "-" ? session.in : file;
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad() || (flags.file != "-" && !file.is_open())) {
    return session.FailUsage(fmt::format("{}: cannot be read", flags.file));
  }
  absl::StatusOr<v1::ApplyAdaptersRequest> request = ReadWantedSet(text);
  if (!request.ok()) {
    return session.FailUsage(fmt::format("{}: {}", flags.file, std::string(request.status().message())));
  }
  request->set_validate_only(flags.validate_only);
  request->set_force(flags.force);
  request->set_request_id(flags.request_id);
  const auto applied = AdminClient(session.ToAdmin()).ApplyAdapters(*request, flags.call.options());
  if (!applied.ok()) return session.Fail(applied.status(), session.admin);
  PrintApplied(*applied, session);
}

void RunList(const AdapterFlags& flags, Session& session) {
  const auto adapters = AdminClient(session.ToAdmin()).ListAdapters(flags.call.options());
  if (!adapters.ok()) return session.Fail(adapters.status(), session.admin);
  if (!session.json) return PrintAdapters(*adapters, session.out);
  Json list = Json::array();
  for (const v1::Adapter& adapter : *adapters) list.push_back(ToJson(adapter));
  session.out << Line(list) << '\n';
}

std::string EventLine(const v1::AdapterEvent& event) {
  const v1::Adapter& a = event.adapter();
  return fmt::format("{}  {}  {}  generation {}  {}{}",
                     google::protobuf::util::TimeUtil::ToString(event.time()), a.name(),
                     v1::Adapter::State_Name(a.state()), a.generation(), v1::Adapter::Tier_Name(a.tier()),
                     a.error().empty() ? "" : "  " + a.error());
}

void RunWatch(const AdapterFlags& flags, Session& session) {
  const auto print = [&](const v1::AdapterEvent& event) {
    session.out << (session.json ? Line(ToJson(event)) : EventLine(event)) << std::endl;
    return session.out.good();
  };
  const absl::Status status = AdminClient(session.ToAdmin()).WatchAdapters(flags.call.options(), print);
  if (!status.ok()) session.Fail(status, session.admin);
}

// One subcommand of `adapter` that calls `run`.
CLI::App* AddAction(CLI::App& parent, const std::string& name, const std::string& help, bool takes_name,
                    void (*run)(const AdapterFlags&, Session&), const Flags& flags, Session& session) {
  CLI::App* action = parent.add_subcommand(name, help);
  if (takes_name) action->add_option("NAME", flags->name, "The adapter's name")->required();
  AddJsonFlag(*action, session);
  AddTimeoutFlag(*action, flags->call);
  AddAdminKeyFlag(*action, flags->call);
  action->callback([flags, run, &session] { run(*flags, session); });
  return action;
}

void AddRequestIdFlag(CLI::App& action, AdapterFlags& flags) {
  action
      .add_option("--request-id", flags.request_id,
                  "Makes it safe to ask again: the same change under the same id is made once")
      ->type_name("ID");
}

void AddApply(CLI::App& parent, const Flags& flags, Session& session) {
  CLI::App* apply =
      AddAction(parent, "apply",
                "Make the adapters those of a file: load, pin and unload what differs; all or none "
                "if one cannot be loaded",
                false, RunApply, flags, session);
  apply->footer(kApplyFooter);
  apply->add_option("FILE", flags->file, "A JSON file, or - for standard input")->required();
  apply->add_flag("--validate-only", flags->validate_only,
                  "Only say what would be done, and whether it can be");
  apply->add_flag("--force", flags->force, "End the requests of those that are unloaded");
  AddRequestIdFlag(*apply, *flags);
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
  load->add_option("--path", flags->path,
                   "Its directory under the daemon's adapter root, relative to it or absolute")
      ->required()
      ->type_name("DIR");
  load->footer(kLoadFooter);
  load->add_flag("--validate-only", flags->validate_only, "Only say whether it could be loaded");
  load->add_flag(
      "--lenient", flags->lenient,
      "Where its config and its tensors differ, do as PEFT does: leave modules without tensors as in the "
      "base model, drop tensors of other modules");
  load->add_option("--etag", flags->etag, "Load it only if its files have this digest")->type_name("DIGEST");
  AddRequestIdFlag(*load, *flags);
  AddAction(*command, "list", "All adapters, by name", false, RunList, flags, session);
  AddAction(*command, "get", "One adapter", true, RunGet, flags, session);
  CLI::App* unload =
      AddAction(*command, "unload", "Unload an adapter; waits until its last request has ended", true,
                RunUnload, flags, session);
  unload->add_flag("--force", flags->force, "End its requests instead of waiting for them");
  unload->add_option("--etag", flags->etag, "Unload it only if it has this etag")->type_name("DIGEST");
  AddRequestIdFlag(*unload, *flags);
  AddRequestIdFlag(*AddAction(*command, "pin", "Bring an adapter to the device, and keep it there", true,
                              RunPin, flags, session),
                   *flags);
  AddRequestIdFlag(*AddAction(*command, "unpin", "Let a pinned adapter make room for others again", true,
                              RunUnpin, flags, session),
                   *flags);
  AddApply(*command, flags, session);
  AddAction(*command, "watch", "The state of every adapter, then each change, a line each", false, RunWatch,
            flags, session);
}

}  // namespace hydrad
