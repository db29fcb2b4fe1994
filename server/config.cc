#include "server/config.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <istream>
#include <set>

#include "server/base/unknown_word.h"

namespace hydrad {
namespace {

constexpr uint64_t kMostMemory = 1ull << 50;  // also keeps a negative number from passing as a large one
constexpr const char* kMasked = "\"***\"";
const std::set<std::string> kSecrets = {"admin-key-sha256"};

std::string Variable(std::string key) {
  std::transform(key.begin(), key.end(), key.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return "HYDRAD_" + key;
}

std::vector<std::string> Keys(const CLI::App& app) {
  std::vector<std::string> keys;
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->get_configurable(); })) {
    keys.push_back(option->get_lnames().front());
  }
  return keys;
}

// CLI11 asks the file before the environment. Keys whose variable is set are left out of the file, so that
// the environment comes first. A key that `app` does not have is an error that names it.
class FileBelowEnvironment : public CLI::ConfigTOML {
 public:
  explicit FileBelowEnvironment(const CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::vector<CLI::ConfigItem> items = CLI::ConfigTOML::from_config(input);
    const std::vector<std::string> keys = Keys(app_);
    for (const CLI::ConfigItem& item : items) {
      if (std::find(keys.begin(), keys.end(), item.name) != keys.end() || item.name == "++") continue;
      throw CLI::ConfigError(fmt::format("the configuration file has the unknown key '{}'{}", item.fullname(),
                                         DidYouMean(item.name, keys)));
    }
    std::erase_if(items, [](const CLI::ConfigItem& item) {
      return item.parents.empty() && std::getenv(Variable(item.name).c_str()) != nullptr;
    });
    return items;
  }

 private:
  const CLI::App& app_;
};

// NAME=DIR into its parts; the text says what is wrong with it.
std::string SplitAdapter(const std::string& text, Config::AdapterSpec* out) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return fmt::format("'{}' is not NAME=DIR", text);
  }
  *out = {text.substr(0, equals), text.substr(equals + 1)};
  return "";
}

std::string CheckAdapter(const std::string& text) {
  Config::AdapterSpec unused;
  return SplitAdapter(text, &unused);
}

std::string CheckSha256(const std::string& text) {
  const bool hex = std::all_of(text.begin(), text.end(),
                               [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  return hex && text.size() == 64 ? "" : "is not a SHA-256 in 64 lower-case hexadecimal digits";
}

// As browsers send it: in small letters, and without a path.
std::string CheckOrigin(const std::string& text) {
  const size_t host = text.find("://");
  const bool plain = std::none_of(text.begin(), text.end(),
                                  [](unsigned char c) { return c <= ' ' || c > '~' || std::isupper(c); });
  if (text == "*" || (plain && host != std::string::npos && host > 0 && host + 3 < text.size() &&
                      text.find_first_of("/?#*", host + 3) == std::string::npos)) {
    return "";
  }
  return fmt::format("'{}' is not an origin such as https://chat.example.com", text);
}

void AddPlaces(CLI::App& app, Config& c, std::vector<std::string>& adapters) {
  app.add_option("--model", c.model,
                 "Directory of the base model: config.json, *.safetensors, tokenizer.json")
      ->required()
      ->type_name("DIR");
  app.add_option("--adapter-root", c.adapter_root,
                 "Directory that adapters are loaded from; no path leaves it. Unset: none can be loaded")
      ->type_name("DIR");
  app.add_option(
         "--adapter", adapters,
         "Load this adapter at start, from DIR under the adapter root; repeatable. A failure ends the start")
      ->type_name("NAME=DIR")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CheckAdapter);
  app.add_flag(
      "--lenient", c.lenient,
      "Load those of --adapter as `hydractl adapter load --lenient` does: where their config and their "
      "tensors differ, as PEFT does");
  app.add_option(
         "--state-dir", c.state_dir,
         "Directory that keeps the wanted adapters, so that they survive a restart; made if it is not "
         "there. Unset: they do not")
      ->type_name("DIR");
  app.add_option("--audit-log", c.audit_log, "Append audit records here as JSON lines; unset: into the log")
      ->type_name("FILE");
}

void AddListeners(CLI::App& app, Config& c) {
  const char* address = "ADDR";
  app.add_option(
         "--listen", c.listen,
         "Where to serve inference: HOST:PORT (port 0: any), [V6]:PORT or unix:PATH. 0.0.0.0: every IPv4 "
         "address, [::]: every address. What connects before the model is loaded waits")
      ->type_name(address);
  app.add_option("--http-listen", c.http_listen,
                 "Where to serve inference over HTTP, as OpenAI's clients speak it, and a page for browsers; "
                 "\"\": nowhere")
      ->type_name(address);
  app.add_option("--http-cors-origin", c.http_cors_origin,
                 "Origin of pages whose scripts may use --http-listen from a browser (CORS), as "
                 "https://chat.example.com; "
                 "repeatable. \"*\": every page, which is for a daemon without --tenants. Unset: none")
      ->type_name("ORIGIN")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CheckOrigin);
  app.add_option("--admin-listen", c.admin_listen, "Where to serve administration; \"\": nowhere")
      ->type_name(address);
  app.add_option(
         "--http-admin-listen", c.http_admin_listen,
         "Where to serve administration over HTTP: load_lora_adapter and unload_lora_adapter as vLLM has "
         "them, and "
         "hydrad.v1.Admin in JSON. The same as --http-listen: there, which needs --admin-key-sha256. Unset: "
         "nowhere, because a browser can reach an HTTP port of its own machine")
      ->type_name(address);
  app.add_option("--metrics-listen", c.metrics_listen, "Where to serve GET /metrics over HTTP; \"\": nowhere")
      ->type_name(address);
}

// Who is let in, and how many.
void AddAccess(CLI::App& app, Config& c) {
  app.add_option("--tenants", c.tenants,
                 "Tenants file (JSON): keys, limits, allowed adapters. Unset: open to all")
      ->type_name("FILE");
  app.add_option(
         "--admin-key-sha256", c.admin_key_sha256,
         "SHA-256 of a key that may administer; repeatable. Unset: whoever reaches the admin listener")
      ->type_name("HEX")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CheckSha256);
  app.add_option(
         "--tls-cert", c.tls_cert,
         "Certificate chain (PEM) that --listen, --admin-listen and --http-listen show: they speak TLS. "
         "SIGHUP reads the files again. Unset: plain text")
      ->type_name("FILE");
  app.add_option("--tls-key", c.tls_key, "Key (PEM) of --tls-cert")->type_name("FILE");
  app.add_option("--tls-client-ca", c.tls_client_ca,
                 "Certificates (PEM) that must vouch for every client's own (mTLS). Unset: clients need none")
      ->type_name("FILE");
  app.add_flag("--allow-plaintext-public", c.allow_plaintext_public,
               "Allow listening, in plain text, where other machines can connect");
  app.add_option("--max-connections", c.max_connections,
                 "Connections to --listen at once, and to --http-listen; more are closed, silent ones first. "
                 "0: as many "
                 "as the limit on "
                 "open files leaves")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--max-connections-per-peer", c.max_connections_per_peer,
                 "Of those, from one address (IPv6: one /64; Unix socket: one user). 0: a quarter")
      ->check(CLI::Range(0, 1 << 20));
  app.add_flag("--reflection", c.reflection, "Describe the services to clients that ask (gRPC reflection)");
}

void AddEngine(CLI::App& app, Config& c) {
  app.add_option("--device", c.device, "Where the model runs: cuda, cpu, or auto (cuda where there is one)")
      ->check(CLI::IsMember({"auto", "cuda", "cpu"}));
  app.add_option("--device-memory-fraction", c.device_memory_fraction,
                 "Share of the CUDA device's memory for weights, KV cache, adapters and scratch together")
      ->check(CLI::Range(0.01, 1.0));
  app.add_option("--weights", c.weights,
                 "Type of weights and KV cache: bf16, or f32 (twice the memory, CPU only)")
      ->check(CLI::IsMember({"bf16", "f32"}));
  app.add_option("--threads", c.threads, "Threads of the CPU kernels; 0: one per usable core")
      ->check(CLI::Range(0, 1024));
  app.add_option("--max-context", c.max_context,
                 "Token positions of one sequence; 0: what the model was made for")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option(
         "--tool-parser", c.tool_parser,
         "How the model writes calls of functions, which chat takes out of its answers where a request "
         "has tools: auto (as its chat template, or an adapter's own, tells) or one for all")
      ->check(CLI::IsMember({"auto", "none", "hermes", "llama3_json", "mistral"}));
  app.add_option("--max-running", c.max_running, "Sequences in one step")->check(CLI::Range(1, 4096));
  app.add_option("--max-waiting", c.max_waiting, "Requests that may wait to start; more are refused")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--prefill-chunk", c.prefill_chunk, "Prompt tokens of one step, over all sequences")
      ->check(CLI::Range(1, 65536));
  app.add_option("--prefix-cache", c.prefix_cache,
                 "on: a prompt begins with what the KV cache still has of earlier ones of its tenant (and of "
                 "its prefix_group in the tenants file) and adapter. off: every prompt is computed")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option(
         "--unsplit-prompt", c.unsplit_prompt,
         "Longest prompt that may ask for an expert per layer (decision 'layer'), which must run in one "
         "step; more takes memory for the larger step. 0: as --prefill-chunk")
      ->check(CLI::Range(0, 65536));
  app.add_option(
         "--kv-cache-memory", c.kv_cache_memory,
         "Memory for the KV cache, e.g. 4GiB; 0: enough for --max-running full sequences, but on the CPU at "
         "most 2GiB unless one sequence needs more, and on CUDA at most what the device has left")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::Range(uint64_t{0}, kMostMemory));
  app.add_option("--adapter-device-memory", c.adapter_device_memory,
                 "Memory for adapters on the device, e.g. 512MiB; the least used make room for others")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::Range(uint64_t{0}, kMostMemory));
  app.add_option("--adapter-host-memory", c.adapter_host_memory,
                 "Memory for adapters that are being read or wait for the device; at least the largest one")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::Range(uint64_t{0}, kMostMemory));
}

void AddReaders(CLI::App& app, Config& c) {
  app.add_option("--reader-stall-timeout", c.reader_stall_timeout,
                 "Seconds that a client may take nothing of an answer that waits for it; then its call ends")
      ->check(CLI::Range(0.1, 86400.0));
  app.add_option("--unread-per-answer", c.unread_per_answer,
                 "Memory for what a client has not read of one answer; beyond it the call ends")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::Range(uint64_t{1} << 10, kMostMemory));
  app.add_option("--unread-per-tenant", c.unread_per_tenant,
                 "The same for all answers of a tenant; beyond it the calls that hold most end")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::Range(uint64_t{1} << 10, kMostMemory));
}

void AddOperation(CLI::App& app, Config& c) {
  app.add_option("--lame-duck", c.lame_duck,
                 "Seconds to go on serving after SIGTERM, SIGINT or SIGQUIT while health checks already say "
                 "NOT_SERVING")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option(
         "--drain-timeout", c.drain_timeout,
         "Seconds that running requests then have to end. Whatever hangs, the process ends 4 seconds later")
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option(
         "--stall-limit", c.stall_limit,
         "Seconds without an end of a step, after which liveness is NOT_SERVING and the log says where it "
         "stands; must exceed the longest step")
      ->check(CLI::Range(0.1, 86400.0));
  app.add_option(
      "--record-steps", c.record_steps,
      "File to write every step of the model to, with the tokens of all requests in it: what to send "
      "with a report of wrong output");
  app.add_option("--log-level", c.log_level, "Least serious records to log")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}));
}

// Gives every option that is part of the configuration its variable. One that is given twice has its last
// value, so that a wrapper's arguments can be overridden; lists grow.
void FinishOptions(CLI::App& app) {
  for (CLI::Option* option : app.get_options([](const CLI::Option* o) { return o->get_configurable(); })) {
    option->envname(Variable(option->get_lnames().front()));
    if (option->get_items_expected_max() == 1) option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
}

std::string Effective(const CLI::App& app) {
  std::string out;
  for (const std::string& line : CLI::detail::split(app.config_to_str(/*default_also=*/true), '\n')) {
    const std::string key = line.substr(0, line.find('='));
    const CLI::Option* option = key.empty() ? nullptr : app.get_option_no_throw("--" + key);
    if (option == nullptr) continue;
    const bool empty_list = option->get_items_expected_max() > 1 && option->count() == 0;
    if (empty_list) continue;  // the library would write a list of one text
    out += (kSecrets.contains(key) && option->count() > 0 ? key + "=" + kMasked : line) + "\n";
  }
  return out;
}

// Options that only make sense together.
std::string CheckTogether(const Config& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) return "--tls-cert and --tls-key need each other";
  if (!config.tls_client_ca.empty() && config.tls_cert.empty()) return "--tls-client-ca needs --tls-cert";
  const auto& origins = config.http_cors_origin;
  if (!config.tenants.empty() && std::find(origins.begin(), origins.end(), "*") != origins.end())
    return "--http-cors-origin '*' is for a daemon without --tenants: name the origins";
  if (!config.adapters.empty() && config.adapter_root.empty()) return "--adapter needs --adapter-root";
  if (config.adapters.empty()) return "";
  if (config.adapter_device_memory == 0) return "--adapter needs an --adapter-device-memory above 0";
  if (config.adapter_host_memory == 0) return "--adapter needs an --adapter-host-memory above 0";
  return "";
}

// The library takes an empty variable for none, and "--option=" for an option whose value comes next. Both
// are the empty value here, as --option "" is. (Flags and lists have none: an empty variable leaves them as
// they are without one.)
std::vector<std::string> WithEmptyValues(const CLI::App& app, const std::vector<std::string>& given) {
  std::vector<std::string> arguments;
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->get_configurable(); })) {
    const char* value = std::getenv(option->get_envname().c_str());
    if (value == nullptr || *value != '\0' || option->get_items_expected_max() != 1) continue;
    arguments.insert(arguments.end(), {"--" + option->get_lnames().front(), ""});
  }
  for (const std::string& argument : given) {
    const bool empty =
        argument.starts_with("--") && argument.ends_with('=') && argument.find('=') == argument.size() - 1;
    arguments.push_back(empty ? argument.substr(0, argument.size() - 1) : argument);
    if (empty) arguments.emplace_back();
  }
  return arguments;
}

// The file may be named by a variable too, which CLI11 does not know for its own option.
std::vector<std::string> WithConfigVariable(std::vector<std::string> arguments) {
  const char* file = std::getenv("HYDRAD_CONFIG");
  const bool given = std::any_of(arguments.begin(), arguments.end(), [](const std::string& a) {
    return a == "--config" || a.starts_with("--config=");
  });
  if (file != nullptr && *file != '\0' && !given) arguments.insert(arguments.begin(), {"--config", file});
  return arguments;
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return fmt::format("hydrad: {} (see hydrad --help)\n", text);
}

}  // namespace

CommandLine ParseConfig(const std::vector<std::string>& given) {
  CommandLine out;
  std::vector<std::string> adapters;
  CLI::App app(
      "hydrad: one base model, thousands of adapters, many tenants, over gRPC and HTTP.\n"
      "Every option is also a variable (--admin-listen: HYDRAD_ADMIN_LISTEN) and a key of the --config file "
      "(admin-listen = \"...\"). Flags beat variables, variables beat the file.",
      "hydrad");
  app.option_defaults()->always_capture_default();
  app.config_formatter(std::make_shared<FileBelowEnvironment>(app));
  app.set_config("--config", "", "Configuration file (TOML)")->type_name("FILE");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.set_version_flag("--version", "hydrad " HYDRAD_VERSION, "Print the version and exit");
  app.add_flag("--check-config", out.check_config, "Say whether the configuration is good, and exit")
      ->configurable(false);
  app.add_flag("--print-config", out.print_config,
               "Print the effective configuration, secrets masked, and exit")
      ->configurable(false);
  AddPlaces(app, out.config, adapters);
  AddListeners(app, out.config);
  AddAccess(app, out.config);
  AddEngine(app, out.config);
  AddReaders(app, out.config);
  AddOperation(app, out.config);
  FinishOptions(app);
  const std::vector<std::string> arguments = WithConfigVariable(WithEmptyValues(app, given));

  // The library tells of --help and of mistakes by exceptions, which stop here.
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    out.exit = {0, app.help()};
  } catch (const CLI::CallForVersion& version) {
    out.exit = {0, std::string(version.what()) + "\n"};
  } catch (const CLI::Error& error) {
    out.exit = {2, OneLine(UnknownWord(app, arguments).value_or(error.what()))};
  }
  if (out.exit) return out;
  for (const std::string& text : adapters) SplitAdapter(text, &out.config.adapters.emplace_back());
  if (const std::string wrong = CheckTogether(out.config); !wrong.empty()) out.exit = {2, OneLine(wrong)};
  out.effective = Effective(app);
  return out;
}

}  // namespace hydrad
