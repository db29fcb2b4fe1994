#include <fmt/core.h>
#include <CLI/CLI.hpp>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>

#include "client/bench/client_target.h"
#include "client/bench/load_plan.h"
#include "client/bench/runner.h"
#include "client/hydractl/json_output.h"
#include "client/hydractl/session.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "Prints one JSON object: requests and tokens a second, time to first token and between tokens (seconds; "
    "mean,\n"
    "p50, p95, p99, max), errors by code, counts by adapter. In an open loop (--rate) a request's times "
    "count from\n"
    "when it was due, not from when it could be sent; late_seconds is the client's own delay in sending.\n"
    "Exit code 1 when no request succeeded.\n\n"
    "The prompt file has one prompt a line, or JSON: {\"prompt\": \"...\", \"adapter\": \"a\", "
    "\"max_tokens\": 64}.\n"
    "Prompts are used in order, over and over; an adapter given there wins over the mix; @base is the base "
    "model.\n\n"
    "Examples:\n"
    "  hydractl bench --prompts p.txt --concurrency 8 --requests 200 --max-tokens 64\n"
    "  hydractl bench --prompts p.txt --all-adapters --mix zipf --rate 20 --duration 60 --seed 1\n"
    "  hydractl bench --prompts p.txt --adapters a,b,@base --mix round-robin --concurrency 3 --ignore-eos "
    "\\\n"
    "      | jq .time_to_first_token_seconds";

struct BenchFlags {
  std::string prompts, transcript;
  std::vector<std::string> adapters;
  bool all_adapters = false;
  Mix mix = Mix::kUniform;
  double zipf_s = 1.1, duration_seconds = 0;
  int max_tokens = 128;
  BenchLoad load;
  ClientTarget::Options target;
  CallFlags call{.timeout_seconds = 300};
};

void AddLoadFlags(CLI::App& app, BenchFlags& f) {
  const std::string group = "Load";
  auto* load = app.add_option_group(group);
  load->add_option("--rate", f.load.rate, "Open loop: requests a second, at random (Poisson) times")
      ->type_name("R")
      ->check(CLI::Range(1e-6, 1e6));
  load->add_option("--concurrency", f.load.concurrency, "Closed loop: so many requests at once")
      ->type_name("C")
      ->check(CLI::Range(1, 1'000'000));
  load->require_option(1);
  app.add_option("--requests", f.load.requests,
                 "Stop after so many (default, without --duration: once through the file)")
      ->type_name("N")
      ->check(CLI::Range(1, 100'000'000))
      ->group(group);
  app.add_option("--duration", f.duration_seconds, "Start no request after so many seconds")
      ->type_name("S")
      ->check(CLI::Range(1e-3, 1e6))
      ->group(group);
  app.add_option("--seed", f.load.seed, "Of arrival times, mix and sampling")
      ->capture_default_str()
      ->group(group);
  app.add_option("--connections", f.target.connections, "Spread the streams over so many connections")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
}

void AddMixFlags(CLI::App& app, BenchFlags& f) {
  const std::string group = "Adapters";
  auto* list = app.add_option("--adapters", f.adapters, "Spread the requests over these")
                   ->delimiter(',')
                   ->allow_extra_args(false)
                   ->type_name("A,B,...")
                   ->group(group);
  app.add_flag("--all-adapters", f.all_adapters, "Over all that the tenant may use")
      ->excludes(list)
      ->group(group);
  const std::map<std::string, Mix> mixes = {
      {"uniform", Mix::kUniform}, {"zipf", Mix::kZipf}, {"round-robin", Mix::kRoundRobin}};
  app.add_option("--mix", f.mix, "uniform, zipf (the i-th in proportion to 1/i^s) or round-robin")
      ->transform(CLI::CheckedTransformer(mixes).description(""))
      ->type_name("MIX")
      ->default_str("uniform")
      ->group(group);
  app.add_option("--zipf-s", f.zipf_s, "The s of zipf")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str()
      ->group(group);
}

void AddRequestFlags(CLI::App& app, BenchFlags& f) {
  app.add_option("--prompts", f.prompts, "File of prompts; - for standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--transcript", f.transcript, "Write every answer here, one JSON object a line")
      ->type_name("FILE");
  app.add_option("--max-tokens", f.max_tokens, "Generate at most so many tokens a request")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_flag("--ignore-eos", f.target.ignore_eos, "Always generate --max-tokens");
  app.add_option("--temperature", f.target.temperature, "0: always the most likely token")
      ->capture_default_str();
}

absl::StatusOr<std::vector<BenchPrompt>> ReadPrompts(const std::string& path, Session& session) {
  if (path == "-") return ParsePrompts(session.TextOrStdin("-"));
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.good() && text.empty()) return NotFound("cannot be read, or is empty");
  return ParsePrompts(text);
}

// The adapters to spread over. Also finds out whether the daemon is there and the key is right: better once
// now than in the code of every request.
absl::StatusOr<std::vector<std::string>> AdaptersOf(const BenchFlags& flags, const Session& session) {
  ASSIGN_OR_RETURN(const auto models, Client(session.ToServer()).ListModels(flags.call.options()));
  std::vector<std::string> adapters = flags.adapters;
  if (flags.all_adapters) {
    for (const auto& model : models.models()) {
      if (!model.name().empty()) adapters.push_back(model.name());
    }
    if (adapters.empty()) return FailedPrecondition("--all-adapters: no adapter is loaded for this tenant");
  }
  if (adapters.empty()) adapters.emplace_back(kBaseName);
  return adapters;
}

void RunBenchCommand(BenchFlags& flags, Session& session) {
  auto prompts = ReadPrompts(flags.prompts, session);
  if (!prompts.ok())
    return session.FailUsage(fmt::format("{}: {}", flags.prompts, std::string(prompts.status().message())));
  auto adapters = AdaptersOf(flags, session);
  if (!adapters.ok()) return session.Fail(adapters.status(), session.server);
  flags.load.duration =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(flags.duration_seconds));
  if (flags.load.requests == 0 && flags.duration_seconds == 0)
    flags.load.requests = static_cast<int>(prompts->size());
  flags.target.call = flags.call.options();

  AdapterMix mix(flags.mix, adapters->size(), flags.zipf_s, flags.load.seed);
  RequestSource source(*std::move(prompts), *std::move(adapters), std::move(mix), flags.max_tokens,
                       flags.load.seed);
  std::ofstream transcript;
  if (!flags.transcript.empty()) {
    transcript.open(flags.transcript, std::ios::binary | std::ios::trunc);
    if (!transcript) return session.FailUsage(fmt::format("{}: cannot be written", flags.transcript));
    flags.target.transcript = &transcript;
  }
  flags.target.tls = session.tls();
  ClientTarget target(session.server, flags.target);
  const BenchReport report = RunBench(flags.load, source, target, RealPacer());
  session.out << ToJson(report).dump(2) << '\n';
  if (report.ok == 0) session.exit_code = 1;
}

}  // namespace

void AddBenchCommand(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("bench", "Measure a daemon under a load of many adapters");
  const auto flags = std::make_shared<BenchFlags>();
  AddRequestFlags(*command, *flags);
  AddLoadFlags(*command, *flags);
  AddMixFlags(*command, *flags);
  AddTenantKeyFlag(*command, flags->call);
  AddTimeoutFlag(*command, flags->call);
  command->footer(kFooter);
  command->callback([flags, &session] { RunBenchCommand(*flags, session); });
}

}  // namespace hydrad
