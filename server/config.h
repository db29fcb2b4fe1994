// Everything an operator can set, defined once: each option is a flag, an environment variable and a key of
// the configuration file, and a flag beats the environment, which beats the file.
#ifndef HYDRAD_SERVER_CONFIG_H_
#define HYDRAD_SERVER_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hydrad {

// Plain values, checked: what each one means is in ParseConfig's help text.
struct Config {
  std::string model;
  std::string adapter_root;
  struct AdapterSpec {
    std::string name, path;
  };
  std::vector<AdapterSpec> adapters;  // loaded at start
  bool lenient = false;               // they are

  std::string listen = "127.0.0.1:8471";
  std::string admin_listen = "127.0.0.1:8472";    // "": no admin service
  std::string http_listen = "127.0.0.1:8470";     // "": no HTTP
  std::string http_admin_listen;                  // "": no administration over HTTP; as http_listen: there
  std::vector<std::string> http_cors_origin;      // empty: no pages of other sites
  std::string metrics_listen = "127.0.0.1:9471";  // "": no metrics
  std::string tenants;                            // "": open
  std::vector<std::string> admin_key_sha256;      // empty: whoever reaches the admin listener may use it
  std::string tls_cert, tls_key;                  // "": plain text
  std::string tls_client_ca;                      // "": clients show no certificate
  bool allow_plaintext_public = false;
  bool reflection = false;
  int max_connections = 0;           // to each of the listeners of inference; 0: by the limit on open files
  int max_connections_per_peer = 0;  // 0: a quarter of them

  std::string device = "auto";  // or "cuda", "cpu"
  double device_memory_fraction = 0.9;
  std::string weights = "bf16";      // or "f32"
  int threads = 0;                   // 0: one per usable core
  int max_context = 0;               // 0: the model's
  std::string tool_parser = "auto";  // or the Name of a ToolFormat
  int max_running = 64;
  int max_waiting = 1024;
  int prefill_chunk = 256;
  std::string prefix_cache = "on";
  int unsplit_prompt = 0;                       // 0: as prefill_chunk
  uint64_t kv_cache_memory = 0;                 // bytes; 0: by the model and the limits
  uint64_t adapter_device_memory = 1ull << 30;  // bytes
  uint64_t adapter_host_memory = 2ull << 30;    // bytes

  uint64_t unread_per_answer = 16ull << 20;  // bytes
  uint64_t unread_per_tenant = 64ull << 20;  // bytes
  double reader_stall_timeout = 30;          // seconds

  double lame_duck = 1;       // seconds
  double drain_timeout = 30;  // seconds
  double stall_limit = 30;    // seconds
  std::string log_level = "info";
  std::string record_steps;  // "": not recorded
  std::string audit_log;     // "": into the log
  std::string state_dir;     // "": a restart forgets what was loaded
};

// What the command line asks for.
struct CommandLine {
  Config config;
  bool check_config = false;  // only say whether the configuration is good
  bool print_config = false;  // only print it
  std::string effective;      // every key with its value, in the syntax of the file; secrets are masked

  // Set when there is nothing to run: --help, --version (code 0, text for stdout) or a mistake (code 2, text
  // for stderr: one line that names the option).
  struct Exit {
    int code;
    std::string text;
  };
  std::optional<Exit> exit;
};

// Reads the arguments (without the program's name), the environment (HYDRAD_ADMIN_LISTEN for --admin-listen)
// and the file of --config
// (HYDRAD_CONFIG). An unknown flag or key of the file is a mistake; an unknown variable is not,
// because platforms set HYDRAD_PORT and the like for services of that name. A variable that is there and
// empty is the empty value. Nothing in the process may change the environment meanwhile.
CommandLine ParseConfig(const std::vector<std::string>& arguments);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_CONFIG_H_
